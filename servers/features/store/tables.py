"""The tables of the feature store's definitions."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

METADATA = MetaData()

BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

revision = Table(
    "features_revision",
    METADATA,
    # One row: counts what was changed of definitions, and of where their vectors are.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)

entities = Table(
    "features_entities",
    METADATA,
    # Of this entity alone: another one may get its name once it is deleted.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(100), nullable=False),
    # Pairs of name and type.
    Column("join_keys", JsonText, nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("description", ExactText(), nullable=False),
    # Counts what people changed.
    Column("revision", BigInteger, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("project", "name", name="features_entities_by_name"),
)

entity_labels = Table(
    "features_entity_labels",
    METADATA,
    Column("owner_id", ExactString(36), ForeignKey("features_entities.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

views = Table(
    "features_views",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(100), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("description", ExactText(), nullable=False),
    # What a search looks through, without case.
    Column("search_text", ExactText(), nullable=False),
    # The newest.
    Column("version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    # Its vectors and pipelines are being taken away; nobody but who goes on with that sees it any more.
    Column("is_deleted", Boolean, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("project", "name", name="features_views_by_name"),
)

view_labels = Table(
    "features_view_labels",
    METADATA,
    Column("owner_id", ExactString(36), ForeignKey("features_views.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

view_versions = Table(
    "features_view_versions",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("owner_id", ExactString(36), ForeignKey("features_views.id", ondelete="CASCADE"), nullable=False),
    Column("version", BigInteger, nullable=False),
    # FeatureViewSpec, with everything filled in.
    Column("spec", BYTES, nullable=False),
    # Join keys in order: name, type, column.
    Column("keys", JsonText, nullable=False),
    Column("dataset", ExactString(127), nullable=False),
    Column("pipeline", ExactString(127), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    UniqueConstraint("owner_id", "version", name="features_view_versions_by_number"),
)

view_features = Table(
    "features_view_features",
    METADATA,
    Column("view_version_id", ExactString(36), ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", ExactString(128), primary_key=True),
)

view_entities = Table(
    "features_view_entities",
    METADATA,
    Column("view_version_id", ExactString(36), ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
    # Without a cascade: the entity of a view stays.
    Column("entity_id", ExactString(36), ForeignKey("features_entities.id"), primary_key=True),
    Index("features_view_entities_by_entity", "entity_id"),
)

services = Table(
    "features_services",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(100), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("description", ExactText(), nullable=False),
    # The newest.
    Column("version", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("project", "name", name="features_services_by_name"),
)

service_labels = Table(
    "features_service_labels",
    METADATA,
    Column("owner_id", ExactString(36), ForeignKey("features_services.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

service_versions = Table(
    "features_service_versions",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("owner_id", ExactString(36), ForeignKey("features_services.id", ondelete="CASCADE"), nullable=False),
    Column("version", BigInteger, nullable=False),
    # FeatureServiceSpec, with everything filled in.
    Column("spec", BYTES, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    UniqueConstraint("owner_id", "version", name="features_service_versions_by_number"),
)

service_views = Table(
    "features_service_views",
    METADATA,
    Column("service_version_id", ExactString(36), ForeignKey("features_service_versions.id", ondelete="CASCADE"), primary_key=True),
    # Without a cascade: what a service serves stays.
    Column("view_version_id", ExactString(36), ForeignKey("features_view_versions.id"), primary_key=True),
    Index("features_service_views_by_view", "view_version_id"),
)
