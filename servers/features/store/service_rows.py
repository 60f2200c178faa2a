"""The rows of services and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.features.v1 import feature_view_pb2 as pb
from sqlalchemy import ColumnElement, RowMapping, and_

from aip_filter import Field, Schema, side_table
from servers.features.definitions.records import Service, ServiceVersion
from servers.features.store.named_sets import SchemaWithSets, one_of
from servers.features.store.tables import service_labels, service_versions, service_views, services, view_versions, views
from servers.runtime.pages import Collection

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "creator", "create_time", "update_time")

VERSIONS = services.join(service_versions, service_versions.c.owner_id == services.c.id)
VERSION_COLUMNS = (
    services.c.id,
    services.c.project,
    services.c.name,
    service_versions.c.id.label("version_id"),
    service_versions.c.version,
    service_versions.c.spec,
    service_versions.c.creator.label("version_creator"),
    service_versions.c.create_time.label("version_create_time"),
)
NEWEST = services.join(
    service_versions, and_(service_versions.c.owner_id == services.c.id, service_versions.c.version == services.c.version)
)
COLUMNS = (
    *VERSION_COLUMNS,
    services.c.version.label("newest_version"),
    *(services.c[name] for name in _AS_THEY_STAND if name not in ("id", "project", "name")),
)


def is_service(project: str, name: str) -> ColumnElement[bool]:
    """The condition that a service has a name."""
    return and_(services.c.project == project, services.c.name == name)


def version_of(row: RowMapping) -> ServiceVersion:
    """Returns the version of a row of `VERSION_COLUMNS`."""
    return ServiceVersion(
        id=row["version_id"],
        service_id=row["id"],
        project=row["project"],
        service=row["name"],
        version=row["version"],
        spec=pb.FeatureServiceSpec.FromString(row["spec"]),
        creator=row["version_creator"],
        create_time=row["version_create_time"],
    )


def service_of(row: RowMapping, labels: Mapping[str, str]) -> Service:
    """Returns the service of a row of `COLUMNS`."""
    values: dict[str, Any] = {name: row[name] for name in _AS_THEY_STAND}
    return Service(**values, labels=labels, newest_version=row["newest_version"], shown=version_of(row))


LIST: Collection[RowMapping] = Collection(
    name="feature services",
    source=NEWEST,
    columns=COLUMNS,
    schema=SchemaWithSets(
        {
            "name": Field("string", services.c.name),
            "display_name": Field("string", services.c.display_name),
            "labels": Field("map", entries=side_table(service_labels, service_labels.c.owner_id == services.c.id)),
            "creator": Field("string", services.c.creator),
            "create_time": Field("timestamp", services.c.create_time),
            "update_time": Field("timestamp", services.c.update_time),
        },
        sets={
            "view": one_of(
                views.c.name,
                service_views.c.service_version_id == service_versions.c.id,
                service_views.c.view_version_id == view_versions.c.id,
                view_versions.c.owner_id == views.c.id,
            )
        },
    ),
    order_fields={"name": services.c.name, "create_time": services.c.create_time, "update_time": services.c.update_time},
    default_order="name",
    tie_breaker=services.c.id,
    read=lambda row: row,
)

VERSION_LIST: Collection[ServiceVersion] = Collection(
    name="versions of a feature service",
    source=VERSIONS,
    columns=VERSION_COLUMNS,
    schema=Schema(
        {
            "version": Field("int", service_versions.c.version),
            "creator": Field("string", service_versions.c.creator),
            "create_time": Field("timestamp", service_versions.c.create_time),
        }
    ),
    order_fields={"version": service_versions.c.version},
    default_order="version desc",
    tie_breaker=service_versions.c.version,
    read=version_of,
)
