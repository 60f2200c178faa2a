"""Jobs, their labels, and their logs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

revision = "0001"
down_revision = None

_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "processing_jobs",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("engine", ExactString(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("spec", _BYTES, nullable=False),
        sa.Column("short_spec", _BYTES, nullable=False),
        sa.Column("retry_of", ExactString(36), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("history", JsonText, nullable=False),
        sa.Column("inputs", JsonText, nullable=False),
        sa.Column("validations", JsonText, nullable=False),
        sa.Column("outputs", JsonText, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("attempt_token", ExactString(36), nullable=False),
        sa.Column("error", JsonText),
        sa.Column("log_lines", sa.BigInteger, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("progress", JsonText),
    )
    op.create_index("processing_jobs_by_create_time", "processing_jobs", ["project", "create_time", "id"])
    op.create_index("processing_jobs_by_display_name", "processing_jobs", ["project", "display_name", "id"])
    op.create_index("processing_jobs_by_end_time", "processing_jobs", ["end_time"])
    op.create_index("processing_jobs_by_state", "processing_jobs", ["state", "project"])
    op.create_table(
        "processing_job_labels",
        sa.Column("job_id", ExactString(36), sa.ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", ExactString(63), primary_key=True),
        sa.Column("value", ExactString(255), nullable=False),
    )
    op.create_table(
        "processing_log_lines",
        sa.Column("job_id", ExactString(36), sa.ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", UtcDateTime, nullable=False),
        sa.Column("level", ExactString(16), nullable=False),
        sa.Column("source", ExactString(255), nullable=False),
        sa.Column("text", ExactText(), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("processing_log_lines")
    op.drop_table("processing_job_labels")
    op.drop_table("processing_jobs")
