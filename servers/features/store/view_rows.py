"""The rows of views and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops.features.v1 import feature_view_pb2 as pb
from sqlalchemy import ColumnElement, RowMapping, and_

from aip_filter import Field, Schema, side_table
from servers.features.definitions.records import KeyColumn, View, ViewVersion
from servers.features.online import JoinKey, JoinKeyType
from servers.features.store.named_sets import SchemaWithSets, one_of
from servers.features.store.tables import entities, view_entities, view_features, view_labels, view_versions, views
from servers.runtime.pages import Collection

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "creator", "create_time", "update_time")

VERSIONS = views.join(view_versions, view_versions.c.owner_id == views.c.id)
VERSION_COLUMNS = (
    views.c.id,
    views.c.project,
    views.c.name,
    view_versions.c.id.label("version_id"),
    view_versions.c.version,
    view_versions.c.spec,
    view_versions.c["keys"],
    view_versions.c.dataset,
    view_versions.c.pipeline,
    view_versions.c.creator.label("version_creator"),
    view_versions.c.create_time.label("version_create_time"),
)
NEWEST = views.join(view_versions, and_(view_versions.c.owner_id == views.c.id, view_versions.c.version == views.c.version))
COLUMNS = (
    *VERSION_COLUMNS,
    views.c.version.label("newest_version"),
    *(views.c[name] for name in _AS_THEY_STAND if name not in ("id", "project", "name")),
)

SEPARATOR = "\x1f"
"""Between the texts that a search looks through; no text has it."""


def is_view(project: str, name: str) -> ColumnElement[bool]:
    """The condition that a view is there and has a name."""
    return and_(views.c.project == project, views.c.name == name, views.c.is_deleted.is_(False))


def search_text(name: str, description: str, features: Iterable[str]) -> str:
    """Returns what a search for a view looks through."""
    return SEPARATOR.join(map(searchable, (name, description, *features)))


def searchable(text: str) -> str:
    """Returns a text as it is searched: without case."""
    return text.casefold().replace(SEPARATOR, " ")


def keys_to_json(keys: Iterable[KeyColumn]) -> list[list[str]]:
    """Gives key columns as the row has them."""
    return [[key.join_key.name, key.join_key.type.value, key.column] for key in keys]


def version_of(row: RowMapping) -> ViewVersion:
    """Returns the version of a row of `VERSION_COLUMNS`."""
    return ViewVersion(
        id=row["version_id"],
        view_id=row["id"],
        project=row["project"],
        view=row["name"],
        version=row["version"],
        spec=pb.FeatureViewSpec.FromString(row["spec"]),
        keys=tuple(KeyColumn(JoinKey(name, JoinKeyType(kind)), column) for name, kind, column in row["keys"]),
        dataset=row["dataset"],
        pipeline=row["pipeline"],
        creator=row["version_creator"],
        create_time=row["version_create_time"],
    )


def view_of(row: RowMapping, labels: Mapping[str, str]) -> View:
    """Returns the view of a row of `COLUMNS`."""
    values: dict[str, Any] = {name: row[name] for name in _AS_THEY_STAND}
    return View(**values, labels=labels, newest_version=row["newest_version"], shown=version_of(row))


LIST: Collection[RowMapping] = Collection(
    name="feature views",
    source=NEWEST,
    columns=COLUMNS,
    schema=SchemaWithSets(
        {
            "name": Field("string", views.c.name),
            "display_name": Field("string", views.c.display_name),
            "labels": Field("map", entries=side_table(view_labels, view_labels.c.owner_id == views.c.id)),
            "creator": Field("string", views.c.creator),
            "create_time": Field("timestamp", views.c.create_time),
            "update_time": Field("timestamp", views.c.update_time),
            "dataset": Field("string", view_versions.c.dataset),
        },
        sets={
            "feature": one_of(view_features.c.name, view_features.c.view_version_id == view_versions.c.id),
            "entity": one_of(
                entities.c.name, view_entities.c.view_version_id == view_versions.c.id, view_entities.c.entity_id == entities.c.id
            ),
        },
    ),
    order_fields={"name": views.c.name, "create_time": views.c.create_time, "update_time": views.c.update_time},
    default_order="name",
    tie_breaker=views.c.id,
    read=lambda row: row,
)

VERSION_LIST: Collection[ViewVersion] = Collection(
    name="versions of a feature view",
    source=VERSIONS,
    columns=VERSION_COLUMNS,
    schema=Schema(
        {
            "version": Field("int", view_versions.c.version),
            "creator": Field("string", view_versions.c.creator),
            "create_time": Field("timestamp", view_versions.c.create_time),
        }
    ),
    order_fields={"version": view_versions.c.version},
    default_order="version desc",
    tie_breaker=view_versions.c.version,
    read=version_of,
)
