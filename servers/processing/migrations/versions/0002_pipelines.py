"""Pipelines, their versions, runs, statistics and alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime, exact_float

revision = "0002"
down_revision = "0001"

_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "processing_pipelines",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(127), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", JsonText),
        sa.Column("running_job_id", ExactString(36), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("project", "name", name="processing_pipelines_by_name"),
    )
    op.create_index("processing_pipelines_by_job", "processing_pipelines", ["running_job_id"])
    op.create_table(
        "processing_pipeline_labels",
        sa.Column("pipeline_id", ExactString(36), sa.ForeignKey("processing_pipelines.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", ExactString(63), primary_key=True),
        sa.Column("value", ExactString(255), nullable=False),
    )
    op.create_table(
        "processing_pipeline_versions",
        sa.Column("pipeline_id", ExactString(36), sa.ForeignKey("processing_pipelines.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("spec", _BYTES, nullable=False),
        sa.Column("full_only_reason", ExactText(), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "processing_pipeline_runs",
        sa.Column("job_id", ExactString(36), sa.ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("pipeline_id", ExactString(36), nullable=False),
        sa.Column("pipeline", ExactString(127), nullable=False),
        sa.Column("pipeline_version", sa.BigInteger, nullable=False),
        sa.Column("is_check", sa.Boolean, nullable=False),
        sa.Column("request", JsonText, nullable=False),
        sa.Column("outcome", JsonText),
        sa.Column("check_result", _BYTES),
    )
    op.create_index("processing_pipeline_runs_by_pipeline", "processing_pipeline_runs", ["project", "pipeline"])
    op.create_table(
        "processing_output_quality",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("pipeline_id", ExactString(36), sa.ForeignKey("processing_pipelines.id", ondelete="CASCADE"), nullable=False),
        sa.Column("job_id", ExactString(36), nullable=False),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("columns", JsonText, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("job_id", "dataset", name="processing_output_quality_by_job"),
    )
    op.create_index("processing_output_quality_by_time", "processing_output_quality", ["pipeline_id", "dataset", "create_time"])
    op.create_table(
        "processing_quality_alerts",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("pipeline_id", ExactString(36), sa.ForeignKey("processing_pipelines.id", ondelete="CASCADE"), nullable=False),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("pipeline", ExactString(127), nullable=False),
        sa.Column("rule", ExactString(127), nullable=False),
        sa.Column("job_id", ExactString(36), nullable=False),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("value", exact_float()),
        sa.Column("message", ExactText(), nullable=False),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("resolve_time", UtcDateTime),
    )
    op.create_index("processing_quality_alerts_by_time", "processing_quality_alerts", ["project", "create_time", "id"])
    op.create_index("processing_quality_alerts_by_pipeline", "processing_quality_alerts", ["pipeline_id", "state"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("processing_quality_alerts")
    op.drop_table("processing_output_quality")
    op.drop_table("processing_pipeline_runs")
    op.drop_table("processing_pipeline_versions")
    op.drop_table("processing_pipeline_labels")
    op.drop_table("processing_pipelines")
