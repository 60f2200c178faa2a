"""Subscriptions to topics of Kafka."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, JsonText, UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "subscriptions",
        sa.Column("project", ExactString(63), primary_key=True),
        sa.Column("name", ExactString(127), primary_key=True),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("cluster", ExactString(127), nullable=False),
        sa.Column("consumer_group", ExactString(255), nullable=False),
        sa.Column("mode", ExactString(16), nullable=False),
        sa.Column("request", JsonText, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("task_id", ExactString(128), nullable=False),
        sa.Column("is_started", sa.Boolean, nullable=False),
        sa.Column("accepts_loss", sa.Boolean, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", JsonText),
        sa.Column("positions", JsonText, nullable=False),
        sa.Column("rows_written", sa.BigInteger, nullable=False),
        sa.Column("rows_rejected", sa.BigInteger, nullable=False),
        sa.Column("rejected", JsonText, nullable=False),
        sa.Column("version", sa.BigInteger),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )
    op.create_index("subscriptions_by_group", "subscriptions", ["cluster", "consumer_group"], unique=True)
    op.create_index("subscriptions_by_dataset", "subscriptions", ["project", "dataset"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("subscriptions")
