"""Materialisations: what was asked for, and how it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, RowMapping, delete, func, select, update

from aip_filter import Field, Schema
from servers.features.jobs.errors import MaterializationNotFound
from servers.features.jobs.records import (
    Failure,
    Materialization,
    MaterializationProgress,
    MaterializeMode,
    NewMaterialization,
)
from servers.features.store.job_rows import ended_values, failure_of, failure_to_json
from servers.features.store.job_tables import materializations, old_generations
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.runtime.work import Task
from servers.runtime.work.job_state import NOT_ENDED, JobState, is_lost, state_of
from servers.runtime.work.task_rows import tasks
from sql_engine import Insertion, write

_SOURCE = materializations.outerjoin(tasks, tasks.c.task_id == materializations.c.id)
_STATE = state_of(materializations.c.state)
_IS_LOST = is_lost(materializations.c.state)
_AS_THEY_STAND = ("id", "project", "view", "version", "view_version_id", "creator", "create_time", "end_time")
_COLUMNS = (
    *(materializations.c[name] for name in _AS_THEY_STAND),
    *(materializations.c[name] for name in ("mode", "effective_mode", "processing_job_id", "dataset_version", "dataset_time", "error")),
    func.coalesce(materializations.c.start_time, tasks.c.start_time).label("start_time"),
    func.coalesce(materializations.c.progress, tasks.c.progress).label("progress"),
    _STATE.label("state"),
    _IS_LOST.label("is_lost"),
)


class OldGeneration(NamedTuple):
    """Vectors that nobody reads any more: their name in the online store, and the version of the view that had them."""

    online_name: str
    view_version_id: str


class Materializations:
    """The materialisations of all projects. Where a method takes a `connection`, it is part of that transaction.

    Until one ends, its task says how it stands: one with the same id, in the same database. From then on its row says it itself, which is
    what `end` is for.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insertion = Insertion(materializations, engine.dialect, if_absent=True)

    def add(self, connection: Connection, new: NewMaterialization) -> str:
        """Adds a materialisation, unless another one of the version has not ended.

        Returns:
            Its id, or that of the other one. Where it is its own, its task has to be enqueued in the same transaction.
        """
        self._close_lost(connection, new.view_version_id)
        of_version = select(materializations.c.id).where(materializations.c.open_view_version_id == new.view_version_id)
        while not self._insertion.run(connection, [_new_row(new)]):
            found = connection.execute(of_version).scalar_one_or_none()
            # It may end between the two statements.
            if found is not None:
                return str(found)
        return new.id

    def get(self, project: str, materialization_id: str) -> Materialization:
        """Returns a materialisation as it stands.

        Raises:
            MaterializationNotFound: The project has none of this id.
        """
        return self._one(materializations.c.project == project, materialization_id=materialization_id, project=project)

    def work_of(self, materialization_id: str) -> Materialization:
        """Returns a materialisation for its worker.

        Raises:
            MaterializationNotFound: There is none of this id.
        """
        return self._one(materialization_id=materialization_id)

    def open_of(self, view_version_id: str) -> str:
        """Returns the id of the materialisation of a version that has not ended; empty where all have."""
        found = select(materializations.c.id).where(materializations.c.open_view_version_id == view_version_id)
        with self._engine.connect() as connection:
            return connection.execute(found).scalar_one_or_none() or ""

    def page(self, project: str, listing: Listing) -> tuple[list[Materialization], str]:
        """Returns a page of a project's materialisations, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, _LIST, listing, materializations.c.project == project, scope=project)

    def record(self, connection: Connection, materialization_id: str, **values: Any) -> None:
        """Keeps what an attempt has found out; all attempts go on from that.

        Args:
            connection: Within the transaction.
            materialization_id: Which.
            values: Of `processing_job_id`, `dataset_version`, `dataset_time`, `effective_mode` and `progress`.
        """
        connection.execute(update(materializations).where(materializations.c.id == materialization_id).values(values))

    def record_failure(self, connection: Connection, materialization_id: str, failure: Failure) -> None:
        """Keeps why an attempt failed."""
        self.record(connection, materialization_id, error=failure_to_json(failure))

    def end(self, connection: Connection, task: Task) -> None:
        """Takes over how a task ended: for `on_end` of the `TaskTable`. Other tasks change nothing."""
        row = connection.execute(select(materializations).where(materializations.c.id == task.task_id)).mappings().one_or_none()
        if row is None:
            return
        values = {**ended_values(row, task), "open_view_version_id": None}
        if row["progress"] is None:
            values["progress"] = task.progress
        connection.execute(update(materializations).where(materializations.c.id == task.task_id).values(values))

    def purge(self, before: datetime, most: int) -> int:
        """Forgets materialisations that ended before a time, some at most; returns how many there were."""
        with self._engine.connect() as connection:
            old = select(materializations.c.id).where(materializations.c.end_time < before).limit(most)
            ids = list(connection.execute(old).scalars())
        if ids:
            write(self._engine, lambda connection: connection.execute(delete(materializations).where(materializations.c.id.in_(ids))))
        return len(ids)

    def _close_lost(self, connection: Connection, view_version_id: str) -> None:
        """Ends one that nobody works on any more, which would hold up all others for ever."""
        lost = (
            select(materializations.c.id).select_from(_SOURCE).where(materializations.c.open_view_version_id == view_version_id, _IS_LOST)
        )
        for materialization_id in list(connection.execute(lost).scalars()):
            values = {"open_view_version_id": None}
            connection.execute(update(materializations).where(materializations.c.id == materialization_id).values(values))

    def _one(self, *conditions: Any, materialization_id: str, project: str = "") -> Materialization:
        query = select(*_COLUMNS).select_from(_SOURCE).where(materializations.c.id == materialization_id, *conditions)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise MaterializationNotFound(materialization_id, project)
        return _materialization_of(row)


class OldGenerations:
    """Vectors in the online store that nobody reads any more. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insertion = Insertion(old_generations, engine.dialect, if_absent=True)

    def add(self, connection: Connection, view_version_id: str, online_name: str, now: datetime, delay: timedelta) -> None:
        """Keeps that vectors are to be dropped, once readers in other processes have noticed that there are newer ones."""
        row = {"online_name": online_name, "view_version_id": view_version_id, "drop_time": now + delay}
        self._insertion.run(connection, [row])

    def due(self, now: datetime, limit: int) -> list[OldGeneration]:
        """Returns vectors that can be dropped by now, the oldest first."""
        found = (
            select(old_generations.c.online_name, old_generations.c.view_version_id)
            .where(old_generations.c.drop_time <= now)
            .order_by(old_generations.c.drop_time)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [OldGeneration(*row) for row in connection.execute(found)]

    def of_version(self, view_version_id: str) -> list[str]:
        """Returns the names of the vectors of a version of a view that are not dropped yet, for whoever deletes the view."""
        found = select(old_generations.c.online_name).where(old_generations.c.view_version_id == view_version_id)
        with self._engine.connect() as connection:
            return list(connection.execute(found).scalars())

    def forget(self, online_names: list[str]) -> None:
        """Forgets vectors that were dropped."""
        gone = delete(old_generations).where(old_generations.c.online_name.in_(online_names))
        write(self._engine, lambda connection: connection.execute(gone))


def _new_row(new: NewMaterialization) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("dataset_version", "dataset_time", "error", "start_time", "end_time", "progress"),
    )
    return {
        **empty,
        "id": new.id,
        "project": new.project,
        "view": new.view,
        "version": new.version,
        "view_version_id": new.view_version_id,
        "open_view_version_id": new.view_version_id,
        "mode": new.mode.value,
        "effective_mode": "",
        "processing_job_id": "",
        "creator": new.creator,
        "create_time": new.create_time,
        "state": NOT_ENDED,
    }


def _materialization_of(row: RowMapping) -> Materialization:
    return Materialization(
        **{name: row[name] for name in _AS_THEY_STAND},
        mode=MaterializeMode(row["mode"]),
        state=JobState(row["state"]),
        effective_mode=MaterializeMode(row["effective_mode"]) if row["effective_mode"] else None,
        error=failure_of(row) if JobState(row["state"]) is JobState.FAILED else None,
        processing_job_id=row["processing_job_id"],
        dataset_version=row["dataset_version"],
        dataset_time=row["dataset_time"],
        progress=MaterializationProgress.of(row["progress"]),
        start_time=row["start_time"],
    )


_LIST: Collection[Materialization] = Collection(
    name="materialisations",
    source=_SOURCE,
    columns=_COLUMNS,
    schema=Schema(
        {
            "view": Field("string", materializations.c.view),
            "version": Field("int", materializations.c.version),
            "state": Field("enum", _STATE, values={state.value: state.value for state in JobState}),
            "creator": Field("string", materializations.c.creator),
            "create_time": Field("timestamp", materializations.c.create_time),
            "end_time": Field("timestamp", materializations.c.end_time),
        }
    ),
    # One that has not ended comes after all others.
    order_fields={
        "create_time": materializations.c.create_time,
        "end_time": func.coalesce(materializations.c.end_time, datetime(9999, 1, 1, tzinfo=UTC)),
    },
    default_order="create_time desc",
    tie_breaker=materializations.c.id,
    read=_materialization_of,
)
