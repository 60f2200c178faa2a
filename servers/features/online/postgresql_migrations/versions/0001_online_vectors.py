"""The newest vector of each entity."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactText

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "online_vectors",
        sa.Column("view", ExactText(), primary_key=True),
        sa.Column("slot", sa.LargeBinary, primary_key=True),
        sa.Column("long_key", sa.LargeBinary),
        sa.Column("vector", sa.LargeBinary, nullable=False),
    )
    # Floating point numbers hardly compress, and of what is not compressed a part can be read: the times in front.
    op.execute("ALTER TABLE online_vectors ALTER COLUMN vector SET STORAGE EXTERNAL")
