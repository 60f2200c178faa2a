"""Entities, views and services with their versions, and the revision of all of it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

revision = "0001"
down_revision = None

_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    """Create the tables."""
    revisions = op.create_table(
        "features_revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(revisions, [{"id": 1, "revision": 1}])
    _create_entities()
    _create_views()
    _create_services()


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "features_service_views",
        "features_service_versions",
        "features_service_labels",
        "features_services",
        "features_view_entities",
        "features_view_features",
        "features_view_versions",
        "features_view_labels",
        "features_views",
        "features_entity_labels",
        "features_entities",
        "features_revision",
    ):
        op.drop_table(table)


def _create_entities() -> None:
    op.create_table(
        "features_entities",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(100), nullable=False),
        sa.Column("join_keys", JsonText, nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("project", "name", name="features_entities_by_name"),
    )
    _create_labels("features_entity_labels", "features_entities.id")


def _create_views() -> None:
    op.create_table(
        "features_views",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(100), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("search_text", ExactText(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("project", "name", name="features_views_by_name"),
    )
    _create_labels("features_view_labels", "features_views.id")
    op.create_table(
        "features_view_versions",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("owner_id", ExactString(36), sa.ForeignKey("features_views.id", ondelete="CASCADE"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("spec", _BYTES, nullable=False),
        sa.Column("keys", JsonText, nullable=False),
        sa.Column("dataset", ExactString(127), nullable=False),
        sa.Column("pipeline", ExactString(127), nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("owner_id", "version", name="features_view_versions_by_number"),
    )
    op.create_table(
        "features_view_features",
        sa.Column("view_version_id", ExactString(36), sa.ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", ExactString(128), primary_key=True),
    )
    op.create_table(
        "features_view_entities",
        sa.Column("view_version_id", ExactString(36), sa.ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("entity_id", ExactString(36), sa.ForeignKey("features_entities.id"), primary_key=True),
    )
    op.create_index("features_view_entities_by_entity", "features_view_entities", ["entity_id"])


def _create_services() -> None:
    op.create_table(
        "features_services",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("name", ExactString(100), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("description", ExactText(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("project", "name", name="features_services_by_name"),
    )
    _create_labels("features_service_labels", "features_services.id")
    op.create_table(
        "features_service_versions",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("owner_id", ExactString(36), sa.ForeignKey("features_services.id", ondelete="CASCADE"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("spec", _BYTES, nullable=False),
        sa.Column("creator", ExactString(255), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("owner_id", "version", name="features_service_versions_by_number"),
    )
    op.create_table(
        "features_service_views",
        sa.Column(
            "service_version_id", ExactString(36), sa.ForeignKey("features_service_versions.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("view_version_id", ExactString(36), sa.ForeignKey("features_view_versions.id"), primary_key=True),
    )
    op.create_index("features_service_views_by_view", "features_service_views", ["view_version_id"])


def _create_labels(table: str, owner: str) -> None:
    op.create_table(
        table,
        sa.Column("owner_id", ExactString(36), sa.ForeignKey(owner, ondelete="CASCADE"), primary_key=True),
        sa.Column("key", ExactString(63), primary_key=True),
        sa.Column("value", ExactString(255), nullable=False),
    )
