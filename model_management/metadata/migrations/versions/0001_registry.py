"""The registry's tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime, exact_float

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of models, versions and what they are found by."""
    row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "registry_models",
        sa.Column("id", row_id, primary_key=True, autoincrement=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(255), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("tags", JsonText, nullable=False),
        sa.Column("aliases", JsonText, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.Column("latest_version", sa.Integer, nullable=False),
        sa.Column("version_count", sa.Integer, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("delete_time", UtcDateTime),
        sa.Column("etag", ExactString(32), nullable=False),
        sa.Column("request_id", ExactString(100)),
        sa.UniqueConstraint("project", "name", name="uq_registry_models_name"),
    )
    op.create_table(
        "registry_retired_names",
        sa.Column("project", ExactString(63), primary_key=True),
        sa.Column("name", ExactString(255), primary_key=True),
        sa.Column("last_version", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registry_model_tags",
        sa.Column("model_id", row_id, sa.ForeignKey("registry_models.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", ExactString(255), primary_key=True),
        sa.Column("value", ExactText(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registry_versions",
        sa.Column("id", row_id, primary_key=True, autoincrement=True),
        sa.Column("model_id", row_id, sa.ForeignKey("registry_models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", ExactString(16), nullable=False),
        sa.Column("stage", ExactString(16), nullable=False),
        sa.Column("format", ExactString(63), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("run_id", ExactString(255), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("digest", ExactString(80), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("delete_time", UtcDateTime),
        sa.Column("etag", ExactString(32), nullable=False),
        sa.Column("request_id", ExactString(100)),
        sa.Column("details", JsonText, nullable=False),
        sa.UniqueConstraint("model_id", "version", name="uq_registry_versions_number"),
        sa.UniqueConstraint("project", "request_id", name="uq_registry_versions_request"),
    )
    op.create_table(
        "registry_version_attributes",
        sa.Column("version_id", row_id, sa.ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("kind", ExactString(16), primary_key=True),
        sa.Column("key", ExactString(255), primary_key=True),
        sa.Column("text", ExactText()),
        sa.Column("number", exact_float()),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registry_files",
        sa.Column("version_id", row_id, sa.ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("digest", ExactString(80), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_registry_files_digest", "registry_files", ["digest"])
    op.create_table(
        "registry_parents",
        sa.Column("version_id", row_id, sa.ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("child_model", ExactString(255), nullable=False),
        sa.Column("child_version", sa.Integer, nullable=False),
        sa.Column("parent_model", ExactString(255), nullable=False),
        sa.Column("parent_version", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_registry_parents_parent", "registry_parents", ["project", "parent_model", "parent_version"])
    op.create_index("ix_registry_parents_child", "registry_parents", ["project", "child_model", "child_version"])
