"""How the online store stands, and when pushes were first seen."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "features_online_states",
        sa.Column("view_version_id", ExactString(36), sa.ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("building", sa.BigInteger),
        sa.Column("newest_generation", sa.BigInteger, nullable=False),
        sa.Column("dataset_version", sa.BigInteger),
        sa.Column("table_id", ExactString(255), nullable=False),
        sa.Column("has_skipped_rows", sa.Boolean, nullable=False),
        sa.Column("materialize_time", UtcDateTime),
        sa.Column("newest_event_time", UtcDateTime),
        sa.Column("written_rows", sa.BigInteger, nullable=False),
        sa.Column("next_materialize_time", UtcDateTime),
    )
    op.create_index("features_online_states_by_next_time", "features_online_states", ["next_materialize_time"])
    op.create_table(
        "features_push_times",
        sa.Column("push_id", ExactString(36), primary_key=True),
        sa.Column("time", UtcDateTime, nullable=False),
    )
    op.create_index("features_push_times_by_time", "features_push_times", ["time"])
