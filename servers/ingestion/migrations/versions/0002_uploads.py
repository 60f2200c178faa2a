"""Uploads, and which ingestions need them."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "uploads",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False),
        sa.Column("blob_id", ExactString(64)),
    )
    op.create_index("uploads_by_project", "uploads", ["project"])
    op.create_index("uploads_by_expire_time", "uploads", ["expire_time"])
    op.create_table(
        "upload_uses",
        sa.Column("ingestion_id", ExactString(36), sa.ForeignKey("ingestions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("upload_id", ExactString(36), sa.ForeignKey("uploads.id"), nullable=False),
    )
    op.create_index("upload_uses_by_upload", "upload_uses", ["upload_id"])


def downgrade() -> None:
    """Drop the tables."""
    for table in ("upload_uses", "uploads"):
        op.drop_table(table)
