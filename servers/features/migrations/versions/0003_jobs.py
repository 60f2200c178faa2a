"""Materialisations, generations that nobody reads any more, and training sets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, JsonText, UtcDateTime

revision = "0003"
down_revision = "0002"

_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "features_materializations",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("view", ExactString(100), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("view_version_id", ExactString(36), nullable=False),
        sa.Column("open_view_version_id", ExactString(36)),
        sa.Column("mode", ExactString(16), nullable=False),
        sa.Column("effective_mode", ExactString(16), nullable=False),
        sa.Column("processing_job_id", ExactString(36), nullable=False),
        sa.Column("dataset_version", sa.BigInteger),
        sa.Column("dataset_time", UtcDateTime),
        sa.Column("error", JsonText),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("progress", JsonText),
        sa.UniqueConstraint("open_view_version_id", name="features_materializations_by_open"),
    )
    op.create_index("features_materializations_by_create_time", "features_materializations", ["project", "create_time", "id"])
    op.create_index("features_materializations_by_view", "features_materializations", ["project", "view", "create_time"])
    op.create_index("features_materializations_by_end_time", "features_materializations", ["end_time"])
    op.create_table(
        "features_old_generations",
        sa.Column("online_name", ExactString(200), primary_key=True),
        sa.Column("view_version_id", ExactString(36), nullable=False),
        sa.Column("drop_time", UtcDateTime, nullable=False),
    )
    op.create_index("features_old_generations_by_drop_time", "features_old_generations", ["drop_time"])
    op.create_index("features_old_generations_by_view", "features_old_generations", ["view_version_id"])
    op.create_table(
        "features_training_sets",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("feature_service", ExactString(100), nullable=False),
        sa.Column("spec", _BYTES, nullable=False),
        sa.Column("inputs", JsonText, nullable=False),
        sa.Column("spine_version", sa.BigInteger, nullable=False),
        sa.Column("job", _BYTES, nullable=False),
        sa.Column("reading", JsonText, nullable=False),
        sa.Column("processing_job_id", ExactString(36), nullable=False),
        sa.Column("dataset_version", sa.BigInteger),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("findings", _BYTES),
        sa.Column("error", JsonText),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("state", ExactString(16), nullable=False),
    )
    op.create_index("features_training_sets_by_create_time", "features_training_sets", ["project", "create_time", "id"])
    op.create_index("features_training_sets_by_end_time", "features_training_sets", ["end_time"])
    op.create_table(
        "features_training_set_views",
        sa.Column("training_set_id", ExactString(36), sa.ForeignKey("features_training_sets.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("view_version_id", ExactString(36), primary_key=True),
        sa.Column("view_id", ExactString(36), nullable=False),
        sa.Column("view_version", sa.BigInteger, nullable=False),
    )
    op.create_index("features_training_set_views_by_view", "features_training_set_views", ["view_id"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("features_training_set_views")
    op.drop_table("features_training_sets")
    op.drop_table("features_old_generations")
    op.drop_table("features_materializations")
