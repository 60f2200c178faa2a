"""Versions of views and services, as serving and jobs need them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Engine, and_, or_, select

from servers.features.definitions.records import ServiceVersion, ViewVersion
from servers.features.errors import (
    ServiceNotFound,
    ServiceVersionNotFound,
    ViewNotFound,
    ViewVersionGone,
    ViewVersionNotFound,
)
from servers.features.store import service_rows, view_rows
from servers.features.store.tables import service_versions, service_views, services, view_versions, views


class ServiceUse(NamedTuple):
    """A version of a service that has features of a version of a view."""

    service: str
    version: int
    view_version: int


class Definitions:
    """The versions of all projects. None of them ever changes.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def view_version(self, project: str, name: str, version: int = 0) -> ViewVersion:
        """Returns a version of a view; 0 = the newest.

        Raises:
            ViewNotFound: The project has none of this name.
            ViewVersionNotFound: It has no such version.
        """
        return self.view_versions(project, [(name, version)])[name, version]

    def view_versions(self, project: str, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], ViewVersion]:
        """Returns versions of views by name and number, as they were asked for; 0 = the newest.

        Raises:
            ViewNotFound: The project has no view of a name.
            ViewVersionNotFound: It has no such version.
        """
        pairs = list(dict.fromkeys(wanted))
        if not pairs:
            return {}
        is_wanted = or_(*(and_(views.c.name == name, view_versions.c.version == (version or views.c.version)) for name, version in pairs))
        there = and_(views.c.project == project, views.c.is_deleted.is_(False), is_wanted)
        columns = (*view_rows.VERSION_COLUMNS, views.c.version.label("newest_version"))
        found: dict[tuple[str, int], ViewVersion] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(select(*columns).select_from(view_rows.VERSIONS).where(there)).mappings():
                read = view_rows.version_of(row)
                found[read.view, read.version] = read
                if read.version == row["newest_version"]:
                    found[read.view, 0] = read
            for name, version in pairs:
                if (name, version) not in found:
                    # Where the newest is wanted, this finds one that was made since the look before.
                    newest = connection.execute(select(views.c.version).where(view_rows.is_view(project, name))).scalar_one_or_none()
                    raise ViewNotFound(project, name) if newest is None or not version else ViewVersionNotFound(name, version, newest)
        return {pair: found[pair] for pair in pairs}

    def view_version_by_id(self, version_id: str) -> ViewVersion:
        """Returns a version of a view.

        Raises:
            ViewVersionGone: The view was deleted.
        """
        query = select(*view_rows.VERSION_COLUMNS).select_from(view_rows.VERSIONS)
        with self._engine.connect() as connection:
            there = and_(view_versions.c.id == version_id, views.c.is_deleted.is_(False))
            row = connection.execute(query.where(there)).mappings().one_or_none()
        if row is None:
            raise ViewVersionGone(version_id)
        return view_rows.version_of(row)

    def service_version(self, project: str, name: str, version: int = 0) -> ServiceVersion:
        """Returns a version of a service; 0 = the newest.

        Raises:
            ServiceNotFound: The project has none of this name.
            ServiceVersionNotFound: It has no such version.
        """
        query = select(*service_rows.VERSION_COLUMNS).select_from(service_rows.VERSIONS)
        is_wanted = and_(service_rows.is_service(project, name), service_versions.c.version == (version or services.c.version))
        with self._engine.connect() as connection:
            row = connection.execute(query.where(is_wanted)).mappings().one_or_none()
            if row is not None:
                return service_rows.version_of(row)
            # Where the newest is wanted, this finds one that was made since the look before.
            newest = connection.execute(select(services.c.version).where(service_rows.is_service(project, name))).scalar_one_or_none()
        raise ServiceNotFound(project, name) if newest is None or not version else ServiceVersionNotFound(name, version, newest)

    def service_uses(self, view_id: str, limit: int) -> list[ServiceUse]:
        """Returns the versions of services that have features of a view, the newest first."""
        query = (
            select(services.c.name, service_versions.c.version, view_versions.c.version.label("view_version"))
            .select_from(service_rows.VERSIONS.join(service_views, service_views.c.service_version_id == service_versions.c.id))
            .join(view_versions, view_versions.c.id == service_views.c.view_version_id)
            .where(view_versions.c.owner_id == view_id)
            .order_by(service_versions.c.create_time.desc(), service_versions.c.id, view_versions.c.version.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [ServiceUse(row.name, row.version, row.view_version) for row in connection.execute(query)]
