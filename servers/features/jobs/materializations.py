"""Materialisations as their callers handle them, and as the schedule asks for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from sqlalchemy import Connection, Engine

from servers.features.definitions.records import ViewVersion
from servers.features.errors import ViewVersionGone
from servers.features.jobs.computations import Computations
from servers.features.jobs.errors import MaterializationNotFound
from servers.features.jobs.records import Materialization, MaterializeMode, NewMaterialization
from servers.features.jobs.working import MAX_ATTEMPTS
from servers.features.serving.errors import ViewIsOfflineOnly
from servers.features.store.definitions import Definitions
from servers.features.store.materializations import Materializations
from servers.features.store.online_states import OnlineStates
from servers.runtime.effects import effect_id, made_before
from servers.runtime.paging import Listing
from servers.runtime.work import NewTask, TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import write

KIND = "materialize"
"""Kind of the tasks."""

SCHEDULE = "schedule"
"""Creator of what nobody asked for."""

# Servers that are lost are no fault of the job.
_LOST_SERVERS = 100
_AT_A_TIME = 100


class Materializing:
    """Takes materialisations.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        definitions: Versions of views.
        materializations: What is known of materialisations.
        computations: Jobs that compute views.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        definitions: Definitions,
        materializations: Materializations,
        computations: Computations,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._definitions = definitions
        self._materializations = materializations
        self._computations = computations
        self._clock = clock

    def start(self, project: str, view: str, version: int, mode: MaterializeMode, creator: str) -> Materialization:
        """Takes a materialisation, or returns the one of the version that has not ended.

        Args:
            project: Of the view.
            view: Its name.
            version: Its version; 0 = the newest.
            mode: How much.
            creator: Who asks.

        Raises:
            ViewNotFound: The project has none of this name.
            ViewVersionNotFound: It has no such version.
            ViewIsOfflineOnly: It is not kept in the online store, and nothing has to be computed.
        """
        before = made_before(lambda materialization_id: self._materializations.get(project, materialization_id), MaterializationNotFound)
        if before is not None:
            return before
        found = self._definitions.view_version(project, view, version)
        if found.spec.offline_only and not found.pipeline:
            raise ViewIsOfflineOnly(found.view, found.version)
        new = self._new(effect_id(), found, mode, creator)
        taken = write(self._engine, lambda connection: self.enqueue(connection, new))
        return self._materializations.get(project, taken)

    def enqueue(self, connection: Connection, new: NewMaterialization) -> str:
        """Takes a materialisation in a transaction; returns its id, or that of the one that has not ended."""
        taken = self._materializations.add(connection, new)
        if taken == new.id:
            self._tasks.enqueue(connection, NewTask(task_id=new.id, kind=KIND, payload={}, max_attempts=MAX_ATTEMPTS + _LOST_SERVERS))
        return taken

    def scheduled(self, view: ViewVersion) -> NewMaterialization:
        """Returns the materialisation that the schedule asks for."""
        return self._new(str(uuid.uuid4()), view, MaterializeMode.INCREMENTAL, SCHEDULE)

    def get(self, project: str, materialization_id: str) -> Materialization:
        """Returns a materialisation.

        Raises:
            MaterializationNotFound: The project has none of this id.
        """
        return self._materializations.get(project, materialization_id)

    def page(self, project: str, listing: Listing) -> tuple[list[Materialization], str]:
        """Returns a page of a project's materialisations, and the token of the next one."""
        return self._materializations.page(project, listing)

    def cancel(self, project: str, materialization_id: str) -> Materialization:
        """Ends one that waits, and stops one that runs; one that has ended stays as it is.

        Raises:
            MaterializationNotFound: The project has none of this id.
        """
        self._materializations.get(project, materialization_id)
        self._tasks.cancel(materialization_id)
        found = self._materializations.get(project, materialization_id)
        if found.state is JobState.CANCELLED and found.processing_job_id:
            # It waited for another attempt, so that no worker does this.
            self._computations.cancel(project, found.processing_job_id)
        return found

    def _new(self, new_id: str, view: ViewVersion, mode: MaterializeMode, creator: str) -> NewMaterialization:
        return NewMaterialization(new_id, view.project, view.view, view.version, view.id, mode, creator, self._clock())


class Schedule:
    """Asks for materialisations of views that want them again and again. Any number of servers may do so at the same time.

    Args:
        engine: The component's database.
        definitions: Versions of views.
        online_states: When each is materialised next.
        materializing: Takes materialisations.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        definitions: Definitions,
        online_states: OnlineStates,
        materializing: Materializing,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._definitions = definitions
        self._online_states = online_states
        self._materializing = materializing
        self._clock = clock

    def run(self) -> None:
        """Asks for those whose time has come."""
        now = self._clock()
        for view_version_id in self._online_states.due(now, _AT_A_TIME):
            self._ask(view_version_id, now)

    def _ask(self, view_version_id: str, now: datetime) -> None:
        try:
            view = self._definitions.view_version_by_id(view_version_id)
        except ViewVersionGone:
            return
        interval = view.spec.materialize_interval.ToTimedelta()
        next_time = now + interval if view.spec.HasField("materialize_interval") else None

        def take(connection: Connection) -> None:
            # Of several servers one adds it; the others wait for that here.
            self._materializing.enqueue(connection, self._materializing.scheduled(view))
            if not self._online_states.take_due(connection, view_version_id, now, next_time):
                raise _TakenByAnother

        with suppress(_TakenByAnother):
            write(self._engine, take)


class _TakenByAnother(Exception):
    """Another server has asked for a materialisation whose time had come."""
