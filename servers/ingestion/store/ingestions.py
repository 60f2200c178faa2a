"""Ingestions: what was asked for, how it stands, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.store.errors import IngestionNotFound
from servers.ingestion.store.ingestion_rows import COLUMNS, IS_LOST, IS_RUNNING, LIST, SOURCE, ended_values, ingestion_of, new_row
from servers.ingestion.store.inputs import delete_input, insert_input, read_input
from servers.ingestion.store.tables import ingestions
from servers.ingestion.store.uploads import release_upload
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing
from servers.runtime.work import Task, TaskState
from servers.runtime.work.job_state import NOT_ENDED
from servers.runtime.work.task_rows import tasks
from sql_engine import write

PURGE_BATCH = 1000

# Callers that wait for an end ask again and again; SQLAlchemy takes longer to build a statement than SQLite to run it.
_GET = (
    select(*COLUMNS)
    .select_from(SOURCE)
    .where(ingestions.c.id == bindparam("wanted_id"), ingestions.c.project == bindparam("wanted_project"))
)
_GET_WORK = select(*COLUMNS, ingestions.c.request).select_from(SOURCE).where(ingestions.c.id == bindparam("wanted_id"))
_OF_PROJECT = select(ingestions.c.id).where(ingestions.c.id == tasks.c.task_id, ingestions.c.project == bindparam("wanted_project"))
# By their tasks: of a join SQLite would begin with all ingestions that the project ever had.
_UNENDED = (
    select(tasks.c.task_id)
    .where(tasks.c.state.in_([TaskState.QUEUED.value, TaskState.RUNNING.value]), _OF_PROJECT.exists())
    .limit(bindparam("most"))
)
_COUNT_UNENDED = select(func.count()).select_from(_UNENDED.subquery())


class Ingestions:
    """The ingestions of all projects.

    Until an ingestion ends, its task says how it stands: one with the ingestion's id, in the same database. From then on the ingestion says
    it itself, which is what `end` is for. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: NewIngestion, data: bytes | None) -> None:
        """Adds an ingestion. Its task has to be enqueued in the same transaction.

        Args:
            connection: Within the transaction.
            new: The ingestion.
            data: Bytes that came in the request; kept until the ingestion ends.
        """
        connection.execute(insert(ingestions).values(new_row(new)))
        if data is not None:
            insert_input(connection, new.id, data)

    def count_unended(self, connection: Connection, project: str, most: int) -> int:
        """Counts the ingestions of a project that have not ended, up to a number.

        Args:
            connection: Within the transaction.
            project: The project.
            most: The number.
        """
        wanted = {"wanted_project": project, "most": most}
        return connection.execute(_COUNT_UNENDED, wanted).scalar_one()

    def get(self, project: str, ingestion_id: str) -> Ingestion:
        """Returns an ingestion as it stands.

        Raises:
            IngestionNotFound: The project has none of this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(_GET, {"wanted_id": ingestion_id, "wanted_project": project}).mappings().one_or_none()
        if row is None:
            raise IngestionNotFound(ingestion_id, project)
        return ingestion_of(row)

    def work_of(self, ingestion_id: str) -> tuple[Ingestion, Any, bytes | None]:
        """Returns what a worker needs to know.

        Args:
            ingestion_id: Which; also the id of its task.

        Returns:
            The ingestion, the request as it was added, and the bytes that came with it.

        Raises:
            IngestionNotFound: There is none of this id.
        """
        with self._engine.connect() as connection:
            # The bytes first: they go when the ingestion ends, so those of one that has not ended are complete.
            data = read_input(connection, ingestion_id)
            row = connection.execute(_GET_WORK, {"wanted_id": ingestion_id}).mappings().one_or_none()
        if row is None:
            raise IngestionNotFound(ingestion_id)
        return ingestion_of(row), row["request"], data

    def page(self, project: str, listing: Listing) -> tuple[list[Ingestion], str]:
        """Returns a page of a project's ingestions, the newest first unless ordered otherwise, and the token of the next page.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, LIST, listing, ingestions.c.project == project, scope=project)

    def is_any_running(self, project: str, dataset: str) -> bool:
        """Whether a worker has an ingestion into a dataset."""
        running = select(ingestions.c.id).select_from(SOURCE).where(IS_RUNNING).limit(1)
        of_dataset = running.where(ingestions.c.project == project, ingestions.c.dataset == dataset)
        with self._engine.connect() as connection:
            return connection.execute(of_dataset).first() is not None

    def purge(self, before: datetime) -> int:
        """Deletes ingestions that ended some time ago, or that nobody has worked on since, with their reports; at most 1,000 at a time.

        Args:
            before: When.

        Returns:
            How many were deleted.
        """
        ended = select(ingestions.c.id).where(ingestions.c.end_time < before)
        is_old = ingestions.c.end_time.is_(None) & (ingestions.c.create_time < before)
        lost = select(ingestions.c.id).select_from(SOURCE).where(is_old, IS_LOST)
        with self._engine.connect() as connection:
            ids = list(connection.execute(ended.limit(PURGE_BATCH)).scalars())
            ids += connection.execute(lost.limit(PURGE_BATCH - len(ids))).scalars() if len(ids) < PURGE_BATCH else ()
        if ids:
            # What has ended never changes, so it is old still.
            write(self._engine, lambda connection: connection.execute(delete(ingestions).where(ingestions.c.id.in_(ids))))
        return len(ids)

    def record_outcome(self, connection: Connection, ingestion_id: str, outcome: Mapping[str, Any]) -> None:
        """Writes what came of an ingestion that has not ended: an attempt that was overtaken changes nothing any more.

        Args:
            connection: Within the transaction.
            ingestion_id: Which.
            outcome: JSON. Its `rows_read`, where it has one, goes before what was last reported.

        Raises:
            IngestionNotFound: There is none of this id that has not ended.
        """
        is_open = (ingestions.c.id == ingestion_id) & (ingestions.c.state == NOT_ENDED)
        changed = connection.execute(update(ingestions).where(is_open).values(outcome=dict(outcome)))
        if changed.rowcount != 1:
            raise IngestionNotFound(ingestion_id)

    def end(self, connection: Connection, task: Task) -> None:
        """Takes over how a task ended, and lets go of the bytes that it needed: `on_end` of the `TaskTable`.

        Tasks that are no ingestion's change nothing.

        Args:
            connection: Within the transaction in which the task ends.
            task: The task. Its progress is `{"rows_read": 7}`.
        """
        changed = connection.execute(update(ingestions).where(ingestions.c.id == task.task_id).values(ended_values(task)))
        if changed.rowcount:
            delete_input(connection, task.task_id)
            release_upload(connection, task.task_id)
