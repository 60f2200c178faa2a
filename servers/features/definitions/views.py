"""Feature views as their callers handle them: made, changed, searched, deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from mlops.features.v1 import feature_view_pb2 as pb
from sqlalchemy import Connection, Engine

from servers.features.definitions.changes import definition_etag, real_changes
from servers.features.definitions.records import Entity, View, ViewVersion
from servers.features.definitions.view_sources import FoundSource, ViewSources
from servers.features.definitions.view_specs import check_parts, check_view_name, filled, with_write_time
from servers.features.errors import ViewExists, ViewNotFound
from servers.features.store.entities import Entities
from servers.features.store.revision import Revision
from servers.features.store.views import Views
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id
from servers.runtime.etags import check_etag
from servers.runtime.paging import Listing
from sql_engine import write


class OnlineRows(Protocol):
    """The online states of versions, in the transactions that make and remove them; `store.online_states.OnlineStates` is one."""

    def add(self, connection: Connection, view_version_id: str, next_materialize_time: datetime | None) -> None:
        """Adds the state of a version that is made."""

    def schedule(self, connection: Connection, view_version_id: str, next_time: datetime | None) -> None:
        """Keeps when a version is materialised next by itself."""

    def remove(self, connection: Connection, view_version_ids: Iterable[str]) -> None:
        """Forgets versions that are deleted."""


@dataclass(frozen=True)
class ViewRequest:
    """A view that somebody wants.

    Args:
        project: Where.
        name: Its name.
        spec: What it is.
        display_name: For people.
        description: What it is for.
        labels: Labels.
    """

    project: str
    name: str
    spec: pb.FeatureViewSpec
    display_name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Checked:
    """A version that could be kept, with its entities and its source."""

    version: ViewVersion
    entities: Sequence[Entity]
    source: FoundSource


class ViewManagement:
    """Makes, changes and deletes feature views.

    Args:
        engine: The component's database.
        revision: Counts changes.
        sources: Where the rows of views come from.
        online: The online states of versions.
        drop_online: Ends the materialisation of a version and takes its vectors away, those of all generations; it may be called again.
        clock: The time.
        make_id: Makes identifiers, UUIDs.
    """

    def __init__(
        self,
        engine: Engine,
        revision: Revision,
        sources: ViewSources,
        online: OnlineRows,
        drop_online: Callable[[ViewVersion], None],
        clock: Callable[[], datetime],
        make_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._views = Views(engine)
        self._entities = Entities(engine)
        self._revision = revision
        self._sources = sources
        self._online = online
        self._drop_online = drop_online
        self._clock = clock
        self._make_id = make_id

    def create(self, request: ViewRequest, caller: Principal, check: Callable[[], None], *, is_kept: bool = True) -> View:
        """Checks a view and makes it.

        Args:
            request: The view.
            caller: Who wants it, with her rights.
            check: Called now and then while it is checked.
            is_kept: Whether it is made; else it is only checked.

        Raises:
            ViewExists: The project has one of the name.
            DomainError: What is wrong with it.
        """
        check_view_name(request.name)
        with suppress(ViewNotFound):
            known = self._views.get(request.project, request.name)
            if known.id == effect_id():
                return known  # made by an earlier attempt at this request
            raise ViewExists(request.project, request.name)
        checked = self._checked(request.project, request.name, effect_id(), 1, request.spec, caller)
        version = checked.version
        new = View(
            id=version.view_id,
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
        check()
        if not is_kept:
            self._sources.check_pipeline(request.project, checked.version.pipeline, checked.source)
            return new
        self._finish_removal(self._views.being_removed(request.project, request.name))
        with self._pipeline_of(checked):
            self._write(lambda connection: self._add(connection, new, checked))
        return self._views.get(new.project, new.name)

    def get(self, project: str, name: str, version: int = 0) -> View:
        """Returns a view, as it is or as a version of it was.

        Raises:
            ViewNotFound: The project has none of this name.
            ViewVersionNotFound: It has no such version.
        """
        return self._views.get(project, name, version)

    def page(self, project: str, query: str, listing: Listing) -> tuple[list[View], str]:
        """Returns a page of a project's views in which a text is found, and the token of the next one."""
        return self._views.page(project, query, listing)

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[ViewVersion], str]:
        """Returns a page of a view's versions, and the token of the next one."""
        return self._views.versions(project, name, listing)

    def update(
        self,
        project: str,
        name: str,
        changes: Mapping[str, Any],
        caller: Principal,
        check: Callable[[], None],
        *,
        etag: str,
        is_kept: bool = True,
    ) -> View:
        """Changes a view.

        Args:
            project: Its project.
            name: Its name.
            changes: Of `display_name`, `description`, `labels` and `spec` those that change. A specification that is another one is a
                version; those before it go on being served.
            caller: Who wants it, with her rights.
            check: Called now and then while it is checked.
            etag: Which was read; empty = whatever it is.
            is_kept: Whether it is changed; else it is only checked.

        Raises:
            ViewNotFound: The project has none of this name.
            Aborted: It has changed since.
            DomainError: What is wrong with it.
        """
        before = self._views.get(project, name)
        check_etag(etag, definition_etag(before))
        changed = real_changes(before, changes)
        checked = None
        if "spec" in changes:
            checked = self._checked(project, name, before.id, before.newest_version + 1, changes["spec"], caller)
            checked = None if checked.version.spec == before.shown.spec else checked
        check()
        if not changed and checked is None:
            return before
        if not is_kept:
            if checked is not None:
                self._sources.check_pipeline(project, checked.version.pipeline, checked.source)
            shown = before.shown if checked is None else checked.version
            return replace(before, **changed, shown=shown, newest_version=shown.version)
        changed["update_time"] = self._clock()
        if checked is None:
            self._write(lambda connection: self._views.change(connection, before, changed, None, ()))
        else:
            with self._pipeline_of(checked):
                self._write(lambda connection: self._change(connection, before, changed, checked))
        return self._views.get(project, name)

    def delete(self, project: str, name: str, *, etag: str) -> None:
        """Deletes a view with its versions, vectors and pipelines. What interrupts that, a repeat takes up.

        Raises:
            ViewNotFound: The project has none of this name.
            ViewInUse: A service has features of it.
            ViewRuns: A pipeline of it runs; it is out of sight already.
            Aborted: It has changed since.
        """
        left = self._views.being_removed(project, name)
        if not left:
            before = self._views.get(project, name)
            check_etag(etag, definition_etag(before))
            self._write(lambda connection: self._begin_removal(connection, before))
            left = self._views.being_removed(project, name)
        self._finish_removal(left)

    def _checked(self, project: str, name: str, view_id: str, version: int, spec: pb.FeatureViewSpec, caller: Principal) -> _Checked:
        entities = self._entities.named(project, spec.entities)
        spec = with_write_time(spec)
        check_parts(spec, entities)
        source = self._sources.find(project, name, version, spec, caller)
        found, keys = filled(spec, entities, source.columns)
        version_id = self._make_id()
        made = ViewVersion(
            id=version_id,
            view_id=view_id,
            project=project,
            view=name,
            version=version,
            spec=found,
            keys=keys,
            dataset=source.dataset,
            # A name of its own, so that whoever is too late to make the version takes nothing away from whoever was not.
            pipeline="" if source.pipeline is None else f"{source.dataset}-{version_id[:8]}",
            creator=caller.display_name,
            create_time=self._clock(),
        )
        return _Checked(made, entities, source)

    @contextmanager
    def _pipeline_of(self, checked: _Checked) -> Iterator[None]:
        """Makes the pipeline of a version, and deletes it again where the version is not kept."""
        version = checked.version
        if checked.source.pipeline is not None:
            self._sources.make_pipeline(version.project, version.pipeline, version.view, checked.source.pipeline)
        try:
            yield
        except Exception:
            # A commit that nobody heard of may have been one.
            if version.pipeline and not self._views.has_pipeline(version.project, version.pipeline):
                self._sources.undo_pipeline(version.project, version.pipeline)
            raise

    def _add(self, connection: Connection, new: View, checked: _Checked) -> None:
        self._views.add(connection, new, checked.entities)
        self._add_online(connection, checked.version)

    def _change(self, connection: Connection, before: View, changed: Mapping[str, Any], checked: _Checked) -> None:
        self._views.change(connection, before, changed, checked.version, checked.entities)
        self._add_online(connection, checked.version)

    def _add_online(self, connection: Connection, version: ViewVersion) -> None:
        is_scheduled = version.spec.HasField("materialize_interval")
        self._online.add(connection, version.id, version.create_time if is_scheduled else None)

    def _begin_removal(self, connection: Connection, before: View) -> None:
        self._views.begin_removal(connection, before)
        for version_id in self._views.version_ids(connection, before.id):
            self._online.schedule(connection, version_id, None)

    def _finish_removal(self, versions: Sequence[ViewVersion]) -> None:
        if not versions:
            return
        for version in versions:
            # This also ends materialisations, and with them runs of the pipeline.
            self._drop_online(version)
            if version.pipeline:
                self._sources.delete_pipeline(version.project, version.pipeline, version.view)

        def remove(connection: Connection) -> None:
            self._online.remove(connection, [version.id for version in versions])
            self._views.remove(connection, versions[0].view_id)

        self._write(remove)

    def _write(self, change: Callable[[Connection], None]) -> None:
        def work(connection: Connection) -> None:
            change(connection)
            self._revision.bump(connection)

        write(self._engine, work)
