"""The tables of the SQL backend.

A row of `MODELS` and `VERSIONS` holds the whole model or version, so that any page is one statement: what is filtered or sorted by in
columns, the rest in a document. The side tables are indexes into the documents, written with them: tags, metrics and parameters to filter
by, digests to find unreferenced blobs, parents to find children. On SQLite they are WITHOUT ROWID: half the pages to sync.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime, exact_float

__all__ = ["ATTRIBUTES", "FILES", "METADATA", "MODELS", "MODEL_TAGS", "PARENTS", "RETIRED", "VERSIONS"]

METADATA = MetaData()

# SQLite makes row ids only of INTEGER.
_ID = BigInteger().with_variant(Integer(), "sqlite")

MODELS = Table(
    "registry_models",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(255), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("description", ExactText(), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("tags", JsonText, nullable=False),
    Column("aliases", JsonText, nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("latest_version", Integer, nullable=False),
    Column("version_count", Integer, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("delete_time", UtcDateTime),
    Column("etag", ExactString(32), nullable=False),
    Column("request_id", ExactString(100)),
    UniqueConstraint("project", "name", name="uq_registry_models_name"),
)
"""`last_version` is the counter: changed in the transaction that adds the version, never turned back."""

RETIRED = Table(
    "registry_retired_names",
    METADATA,
    Column("project", ExactString(63), primary_key=True),
    Column("name", ExactString(255), primary_key=True),
    Column("last_version", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""Where purged models stopped counting."""

MODEL_TAGS = Table(
    "registry_model_tags",
    METADATA,
    Column("model_id", ForeignKey("registry_models.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(255), primary_key=True),
    Column("value", ExactText(), nullable=False),
    sqlite_with_rowid=False,
)

VERSIONS = Table(
    "registry_versions",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("model_id", ForeignKey("registry_models.id", ondelete="CASCADE"), nullable=False),
    Column("project", ExactString(63), nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", ExactString(16), nullable=False),
    Column("stage", ExactString(16), nullable=False),
    Column("format", ExactString(63), nullable=False),
    Column("description", ExactText(), nullable=False),
    Column("run_id", ExactString(255), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("digest", ExactString(80), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("delete_time", UtcDateTime),
    Column("etag", ExactString(32), nullable=False),
    Column("request_id", ExactString(100)),
    Column("details", JsonText, nullable=False),
    # Unique (project, model, version), since a model is of one project.
    UniqueConstraint("model_id", "version", name="uq_registry_versions_number"),
    UniqueConstraint("project", "request_id", name="uq_registry_versions_request"),
)

ATTRIBUTES = Table(
    "registry_version_attributes",
    METADATA,
    Column("version_id", ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", ExactString(16), primary_key=True),
    Column("key", ExactString(255), primary_key=True),
    Column("text", ExactText()),
    Column("number", exact_float()),
    sqlite_with_rowid=False,
)
"""Tags and parameters as text, metrics as numbers."""

FILES = Table(
    "registry_files",
    METADATA,
    Column("version_id", ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("digest", ExactString(80), nullable=False),
    Index("ix_registry_files_digest", "digest"),
    sqlite_with_rowid=False,
)

PARENTS = Table(
    "registry_parents",
    METADATA,
    Column("version_id", ForeignKey("registry_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("child_model", ExactString(255), nullable=False),
    Column("child_version", Integer, nullable=False),
    Column("parent_model", ExactString(255), nullable=False),
    Column("parent_version", Integer, nullable=False),
    Index("ix_registry_parents_parent", "project", "parent_model", "parent_version"),
    Index("ix_registry_parents_child", "project", "child_model", "child_version"),
    sqlite_with_rowid=False,
)
"""Edges of lineage, by name: they outlive a parent that is purged."""
