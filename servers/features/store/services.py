"""Feature services with their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from servers.features.definitions.records import Service, ServiceVersion, ViewVersion
from servers.features.errors import DefinitionChanged, ServiceExists, ServiceNotFound, ServiceVersionNotFound
from servers.features.store.labels import add_labels, labels_of, replace_labels
from servers.features.store.service_rows import COLUMNS, LIST, VERSION_LIST, VERSIONS, is_service, service_of
from servers.features.store.tables import service_labels, service_versions, service_views, services
from servers.features.store.views import lock_views
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "creator", "create_time", "update_time")


class Services:
    """The feature services of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: Service, views: Sequence[ViewVersion]) -> None:
        """Adds a service with its first version.

        Args:
            connection: Within the transaction.
            new: The service; `shown` is the version.
            views: The versions of views that it serves.

        Raises:
            ServiceExists: The project has one of the name.
            DefinitionChanged: A view was deleted meanwhile.
        """
        if connection.execute(select(services.c.id).where(is_service(new.project, new.name))).first() is not None:
            raise ServiceExists(new.project, new.name)
        row: dict[str, Any] = {name: getattr(new, name) for name in _AS_THEY_STAND}
        try:
            connection.execute(insert(services).values(**row, version=1))
        except IntegrityError:
            # Somebody was faster, in between.
            raise ServiceExists(new.project, new.name) from None
        _add_version(connection, new.shown, views)
        add_labels(connection, service_labels, new.id, new.labels)

    def get(self, project: str, name: str, version: int = 0) -> Service:
        """Returns a service, described by a version; 0 = the newest.

        Raises:
            ServiceNotFound: The project has none of this name.
            ServiceVersionNotFound: It has no such version.
        """
        is_wanted = and_(is_service(project, name), service_versions.c.version == (version or services.c.version))
        with self._engine.connect() as connection:
            row = connection.execute(select(*COLUMNS).select_from(VERSIONS).where(is_wanted)).mappings().one_or_none()
            if row is not None:
                return service_of(row, labels_of(connection, service_labels, [row["id"]])[row["id"]])
            # Where the newest is wanted, this finds one that was made since the look before.
            newest = connection.execute(select(services.c.version).where(is_service(project, name))).scalar_one_or_none()
        raise ServiceNotFound(project, name) if newest is None or not version else ServiceVersionNotFound(name, version, newest)

    def page(self, project: str, listing: Listing) -> tuple[list[Service], str]:
        """Returns a page of a project's services, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            rows, token = read_page(connection, LIST, listing, services.c.project == project, scope=project)
            labels = labels_of(connection, service_labels, [row["id"] for row in rows])
        return [service_of(row, labels[row["id"]]) for row in rows], token

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[ServiceVersion], str]:
        """Returns a page of a service's versions, and the token of the next one.

        Raises:
            ServiceNotFound: The project has none of this name.
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            service_id = connection.execute(select(services.c.id).where(is_service(project, name))).scalar_one_or_none()
            if service_id is None:
                raise ServiceNotFound(project, name)
            return read_page(connection, VERSION_LIST, listing, service_versions.c.owner_id == service_id, scope=service_id)

    def change(
        self,
        connection: Connection,
        before: Service,
        changes: Mapping[str, Any],
        version: ServiceVersion | None,
        views: Sequence[ViewVersion],
    ) -> None:
        """Changes a service, unless somebody else just did.

        Args:
            connection: Within the transaction.
            before: As it was read, with its newest version.
            changes: Columns that change, `update_time` with them; `labels` are replaced.
            version: Another version; None where there is none.
            views: The versions of views that it serves.

        Raises:
            DefinitionChanged: Somebody did, or a view was deleted.
        """
        values = {name: value for name, value in changes.items() if name != "labels"} | {"revision": before.revision + 1}
        values["version"] = before.newest_version if version is None else version.version
        unchanged = and_(services.c.id == before.id, services.c.revision == before.revision)
        if connection.execute(update(services).where(unchanged).values(values)).rowcount != 1:
            raise DefinitionChanged(f"the feature service {before.name!r}")
        if version is not None:
            _add_version(connection, version, views)
        if "labels" in changes:
            replace_labels(connection, service_labels, before.id, changes["labels"])

    def remove(self, connection: Connection, before: Service) -> None:
        """Removes a service with its versions.

        Raises:
            DefinitionChanged: Somebody changed it meanwhile.
        """
        found = select(services.c.revision).where(services.c.id == before.id).with_for_update()
        if connection.execute(found).scalar_one_or_none() != before.revision:
            raise DefinitionChanged(f"the feature service {before.name!r}")
        of_it = select(service_versions.c.id).where(service_versions.c.owner_id == before.id).scalar_subquery()
        connection.execute(delete(service_views).where(service_views.c.service_version_id.in_(of_it)))
        for table in (service_labels, service_versions):
            connection.execute(delete(table).where(table.c.owner_id == before.id))
        connection.execute(delete(services).where(services.c.id == before.id))


def _add_version(connection: Connection, new: ServiceVersion, views: Sequence[ViewVersion]) -> None:
    lock_views(connection, views)
    row = {
        "id": new.id,
        "owner_id": new.service_id,
        "version": new.version,
        "spec": new.spec.SerializeToString(deterministic=True),
        "creator": new.creator,
        "create_time": new.create_time,
    }
    connection.execute(insert(service_versions).values(row))
    ids = dict.fromkeys(view.id for view in views)
    connection.execute(insert(service_views), [{"service_version_id": new.id, "view_version_id": each} for each in ids])
