"""Tasks that outlive a request."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "runtime_tasks",
        sa.Column("task_id", ExactString(128), primary_key=True),
        sa.Column("kind", ExactString(63), nullable=False),
        sa.Column("payload", JsonText, nullable=False),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime, nullable=True),
        sa.Column("end_time", UtcDateTime, nullable=True),
        sa.Column("not_before", UtcDateTime, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("owner", ExactString(128), nullable=True),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_end", UtcDateTime, nullable=True),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("progress", JsonText, nullable=True),
        sa.Column("result", JsonText, nullable=True),
        sa.Column("error_reason", ExactString(63), nullable=True),
        sa.Column("error_message", ExactText(), nullable=True),
    )
    op.create_index("runtime_tasks_by_turn", "runtime_tasks", ["state", sa.text("priority DESC"), "not_before"])
    op.create_index("runtime_tasks_by_end", "runtime_tasks", ["end_time"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("runtime_tasks")
