"""An index of ingestions by their end, by which they are purged."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the index."""
    op.create_index("ingestions_by_end_time", "ingestions", ["end_time"])


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ingestions_by_end_time", "ingestions")
