"""Feature services as their callers handle them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mlops.features.v1 import feature_view_pb2 as pb
from sqlalchemy import Connection, Engine

from servers.features.definitions.changes import definition_etag, real_changes
from servers.features.definitions.records import Service, ServiceVersion, Wanted
from servers.features.definitions.service_specs import filled_service
from servers.features.errors import ServiceExists, ServiceNotFound
from servers.features.store.definitions import Definitions
from servers.features.store.revision import Revision
from servers.features.store.services import Services
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id
from servers.runtime.etags import check_etag
from servers.runtime.paging import Listing
from sql_engine import write


@dataclass(frozen=True)
class ServiceRequest:
    """A service that somebody wants; as `ViewRequest`."""

    project: str
    name: str
    spec: pb.FeatureServiceSpec
    display_name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class ServiceManagement:
    """Makes, changes and deletes feature services.

    Args:
        engine: The component's database.
        revision: Counts changes.
        check_on_demand: Raises a DomainError where an on-demand feature cannot be computed of what is wanted.
        clock: The time.
        make_id: Makes identifiers, UUIDs.
    """

    def __init__(
        self,
        engine: Engine,
        revision: Revision,
        check_on_demand: Callable[[Wanted], None],
        clock: Callable[[], datetime],
        make_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._services = Services(engine)
        self._definitions = Definitions(engine)
        self._revision = revision
        self._check_on_demand = check_on_demand
        self._clock = clock
        self._make_id = make_id

    def create(self, request: ServiceRequest, caller: Principal, *, is_kept: bool = True) -> Service:
        """Checks a service and makes it.

        Args:
            request: The service.
            caller: Who wants it.
            is_kept: Whether it is made; else it is only checked.

        Raises:
            ServiceExists: The project has one of the name.
            DomainError: What is wrong with it.
        """
        with suppress(ServiceNotFound):
            known = self._services.get(request.project, request.name)
            if known.id == effect_id():
                return known  # made by an earlier attempt at this request
            raise ServiceExists(request.project, request.name)
        version, wanted = self._checked(request.project, request.name, effect_id(), 1, request.spec, caller)
        new = Service(
            id=version.service_id,
            project=request.project,
            name=request.name,
            display_name=request.display_name,
            description=request.description,
            labels=dict(request.labels),
            newest_version=1,
            revision=1,
            creator=version.creator,
            create_time=version.create_time,
            update_time=version.create_time,
            shown=version,
        )
        if not is_kept:
            return new
        self._write(lambda connection: self._services.add(connection, new, [each.view for each in wanted.selections]))
        return self._services.get(new.project, new.name)

    def get(self, project: str, name: str, version: int = 0) -> Service:
        """Returns a service, as it is or as a version of it was.

        Raises:
            ServiceNotFound: The project has none of this name.
            ServiceVersionNotFound: It has no such version.
        """
        return self._services.get(project, name, version)

    def page(self, project: str, listing: Listing) -> tuple[list[Service], str]:
        """Returns a page of a project's services, and the token of the next one."""
        return self._services.page(project, listing)

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[ServiceVersion], str]:
        """Returns a page of a service's versions, and the token of the next one."""
        return self._services.versions(project, name, listing)

    def update(self, project: str, name: str, changes: Mapping[str, Any], caller: Principal, *, etag: str, is_kept: bool = True) -> Service:
        """Changes a service.

        Args:
            project: Its project.
            name: Its name.
            changes: Of `display_name`, `description`, `labels` and `spec` those that change. A specification that is another one is a
                version; those before it go on being served.
            caller: Who wants it.
            etag: Which was read; empty = whatever it is.
            is_kept: Whether it is changed; else it is only checked.

        Raises:
            ServiceNotFound: The project has none of this name.
            Aborted: It has changed since.
            DomainError: What is wrong with it.
        """
        before = self._services.get(project, name)
        check_etag(etag, definition_etag(before))
        changed = real_changes(before, changes)
        version, wanted = None, None
        if "spec" in changes:
            version, wanted = self._checked(project, name, before.id, before.newest_version + 1, changes["spec"], caller)
            version = None if version.spec == before.shown.spec else version
        if not changed and version is None:
            return before
        if not is_kept:
            shown = version or before.shown
            return replace(before, **changed, shown=shown, newest_version=shown.version)
        changed["update_time"] = self._clock()
        views = [] if wanted is None else [each.view for each in wanted.selections]
        self._write(lambda connection: self._services.change(connection, before, changed, version, views))
        return self._services.get(project, name)

    def delete(self, project: str, name: str, *, etag: str) -> None:
        """Deletes a service with its versions.

        Raises:
            ServiceNotFound: The project has none of this name.
            Aborted: It has changed since.
        """
        before = self._services.get(project, name)
        check_etag(etag, definition_etag(before))
        self._write(lambda connection: self._services.remove(connection, before))

    def _checked(
        self, project: str, name: str, service_id: str, version: int, spec: pb.FeatureServiceSpec, caller: Principal
    ) -> tuple[ServiceVersion, Wanted]:
        found, wanted = filled_service(self._definitions, project, spec)
        if wanted.on_demand:
            self._check_on_demand(wanted)
        made = ServiceVersion(self._make_id(), service_id, project, name, version, found, caller.display_name, self._clock())
        return made, wanted

    def _write(self, change: Callable[[Connection], None]) -> None:
        def work(connection: Connection) -> None:
            change(connection)
            self._revision.bump(connection)

        write(self._engine, work)
