"""Ingestions, their inputs, and datasets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "ingestions",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("source", ExactString(2048), nullable=False),
        sa.Column("mode", ExactString(16), nullable=False),
        sa.Column("request", JsonText, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("start_time", UtcDateTime),
        sa.Column("end_time", UtcDateTime),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("rows_read", sa.BigInteger, nullable=False),
        sa.Column("outcome", JsonText),
        sa.Column("error_reason", ExactString(63), nullable=False),
        sa.Column("error_message", ExactText(), nullable=False),
    )
    op.create_index("ingestions_by_create_time", "ingestions", ["project", "create_time", "id"])
    op.create_index("ingestions_by_dataset", "ingestions", ["project", "dataset", "create_time", "id"])
    op.create_table(
        "ingestion_inputs",
        sa.Column("ingestion_id", ExactString(36), sa.ForeignKey("ingestions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
    )
    op.create_table(
        "datasets",
        sa.Column("project", ExactString(63), primary_key=True),
        sa.Column("name", ExactString(127), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("columns", JsonText, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )
    op.create_index("datasets_by_create_time", "datasets", ["project", "create_time", "name"])
    op.create_index("datasets_by_update_time", "datasets", ["project", "update_time", "name"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("datasets", "ingestion_inputs", "ingestions"):
        op.drop_table(table)
