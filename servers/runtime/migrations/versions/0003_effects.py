"""The id of what a request makes."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; claims of before have none."""
    op.add_column("runtime_replays", sa.Column("effect_id", ExactString(36), nullable=True))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("runtime_replays", "effect_id")
