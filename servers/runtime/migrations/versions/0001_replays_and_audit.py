"""Answers to replay, and audit events on their way to the users server."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "runtime_replays",
        sa.Column("subject", ExactString(255), primary_key=True),
        sa.Column("method", ExactString(255), primary_key=True),
        sa.Column("request_id", ExactString(64), primary_key=True),
        sa.Column("request_hash", ExactString(64), nullable=False),
        sa.Column("owner", ExactString(36), nullable=False),
        sa.Column("lease_time", UtcDateTime, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("response", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=True),
    )
    op.create_index("runtime_replays_by_age", "runtime_replays", ["create_time"])
    op.create_table(
        "runtime_audit_events",
        sa.Column("event_id", ExactString(36), primary_key=True),
        sa.Column("event_time", UtcDateTime, nullable=False),
        sa.Column("subject", ExactString(255), nullable=False),
        sa.Column("method", ExactString(255), nullable=False),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("resource", ExactString(512), nullable=False),
        sa.Column("status_code", sa.Integer, nullable=True),
        sa.Column("reason", ExactString(63), nullable=False),
        sa.Column("request_id", ExactString(128), nullable=False),
        sa.Column("trace_id", ExactString(32), nullable=False),
    )
    op.create_index("runtime_audit_events_by_time", "runtime_audit_events", ["event_time"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("runtime_audit_events")
    op.drop_table("runtime_replays")
