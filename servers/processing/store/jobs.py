"""Jobs: what was asked for, how it stands, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.ingestion.v1.validation_pb2 import ValidationReport
from sqlalchemy import Connection, Engine, RowMapping, delete, insert, select, update

from servers.processing.records import Failure, Job, NewJob, OutputState, StateChange
from servers.processing.store.errors import JobNotFound
from servers.processing.store.job_rows import (
    LIST,
    SOURCE,
    STATE,
    WHOLE,
    change_to_json,
    ended_values,
    failure_to_json,
    job_of,
    new_row,
    outputs_of,
    outputs_to_json,
    report_to_text,
)
from servers.processing.store.pipeline_tables import pipeline_runs
from servers.processing.store.tables import job_labels, jobs, log_lines
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing
from servers.runtime.work import LeaseLost, Task
from servers.runtime.work.job_state import NOT_ENDED, JobState
from sql_engine import write

_LOST_SERVER = "the server that worked on it was lost"


@dataclass(frozen=True)
class Attempt:
    """A worker's hold of a job's row. What an attempt writes that was overtaken by another one is refused.

    Args:
        job_id: The job.
        token: Of this attempt alone.
    """

    job_id: str
    token: str


class Jobs:
    """The jobs of all projects.

    Until a job ends, its task says how it stands: one with the job's id, in the same database. From then on the job says it itself, which
    is what `end` is for. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: NewJob) -> None:
        """Adds a job. Its task has to be enqueued in the same transaction."""
        connection.execute(insert(jobs).values(new_row(new)))
        if new.labels:
            connection.execute(insert(job_labels), [{"job_id": new.id, "key": key, "value": value} for key, value in new.labels.items()])

    def get(self, project: str, job_id: str) -> Job:
        """Returns a job as it stands.

        Raises:
            JobNotFound: The project has none of this id.
        """
        return self._one(jobs.c.id == job_id, jobs.c.project == project, job_id=job_id, project=project)

    def work_of(self, job_id: str) -> Job:
        """Returns a job for its worker.

        Raises:
            JobNotFound: There is none of this id.
        """
        return self._one(jobs.c.id == job_id, job_id=job_id)

    def is_ended(self, project: str, job_id: str) -> bool:
        """Whether a job has ended.

        Raises:
            JobNotFound: The project has none of this id.
        """
        with self._engine.connect() as connection:
            found = select(STATE).select_from(SOURCE).where(jobs.c.id == job_id, jobs.c.project == project)
            state = connection.execute(found).scalar_one_or_none()
        if state is None:
            raise JobNotFound(job_id, project)
        return JobState(state).is_final

    def page(self, project: str, listing: Listing) -> tuple[list[Job], str]:
        """Returns a page of a project's jobs, and the token of the next one. They have no plans, SQL, expectations and reports.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            rows, token = read_page(connection, LIST, listing, jobs.c.project == project, scope=project)
            return jobs_of(connection, rows), token

    def begin(self, attempt: Attempt, now: datetime, hold: Callable[[Connection], None]) -> int:
        """Takes a job over for an attempt.

        Args:
            attempt: The attempt.
            now: The time.
            hold: Called first in the transaction: raises where the task is another worker's, whose attempt this one must not overtake.

        Returns:
            How many attempts have failed before.

        Raises:
            JobNotFound: There is none of this id that has not ended.
        """

        def take(connection: Connection) -> int:
            hold(connection)
            row = _open_row(connection, attempt.job_id)
            history = list(row["history"])
            if history[-1]["state"] == JobState.RUNNING:
                history.append(change_to_json(StateChange(JobState.QUEUED, now, _LOST_SERVER)))
            history.append(change_to_json(StateChange(JobState.RUNNING, now)))
            values = {"history": history, "attempt": row["failures"] + 1, "attempt_token": attempt.token}
            connection.execute(update(jobs).where(jobs.c.id == attempt.job_id).values(values))
            return int(row["failures"])

        return write(self._engine, take)

    def note_cancelling(self, connection: Connection, job_id: str, now: datetime) -> None:
        """Keeps that somebody wants a job that runs to end."""
        row = _open_row(connection, job_id)
        if row["history"][-1]["state"] == JobState.RUNNING:
            history = [*row["history"], change_to_json(StateChange(JobState.CANCELLING, now))]
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(history=history))

    def record_failure(self, attempt: Attempt, failure: Failure, now: datetime, *, is_retried: bool) -> None:
        """Keeps why an attempt failed.

        Args:
            attempt: The attempt.
            failure: Why.
            now: The time.
            is_retried: Whether another attempt follows.

        Raises:
            LeaseLost: Another attempt has begun.
        """

        def keep(connection: Connection) -> None:
            row = _held_row(connection, attempt)
            values: dict[str, Any] = {"error": failure_to_json(failure), "failures": row["failures"] + 1}
            if is_retried:
                change = StateChange(JobState.QUEUED, now, f"{failure.reason}: {failure.message}"[:1024])
                values["history"] = [*row["history"], change_to_json(change)]
            connection.execute(update(jobs).where(jobs.c.id == attempt.job_id).values(values))

        write(self._engine, keep)

    def record_report(self, attempt: Attempt, input_name: str, report: ValidationReport) -> None:
        """Keeps what expectations found of an input.

        Raises:
            LeaseLost: Another attempt has begun.
        """

        def keep(connection: Connection) -> None:
            row = _held_row(connection, attempt)
            validations = {**row["validations"], input_name: report_to_text(report)}
            connection.execute(update(jobs).where(jobs.c.id == attempt.job_id).values(validations=validations))

        write(self._engine, keep)

    def record_output(self, attempt: Attempt, index: int, output: OutputState) -> None:
        """Keeps how far an output is.

        Raises:
            LeaseLost: Another attempt has begun.
        """

        def keep(connection: Connection) -> None:
            outputs = list(outputs_of(_held_row(connection, attempt)["outputs"]))
            outputs[index] = output
            connection.execute(update(jobs).where(jobs.c.id == attempt.job_id).values(outputs=outputs_to_json(outputs)))

        write(self._engine, keep)

    def end(self, connection: Connection, task: Task) -> None:
        """Takes over how a task ended: `on_end` of the `TaskTable`. Tasks that are no job's change nothing."""
        row = connection.execute(select(jobs).where(jobs.c.id == task.task_id).with_for_update()).mappings().one_or_none()
        if row is None:
            return
        state = JobState(task.state.value)
        values = ended_values(task)
        if state is not JobState.FAILED:
            values["error"] = None
        elif task.error is not None and (row["error"] is None or row["error"]["reason"] != task.error.reason):
            # Nobody raised it: a worker was lost for good, or failed in a way that it did not foresee.
            values["error"] = failure_to_json(Failure(13, task.error.reason, task.error.message))
        values["history"] = [*row["history"], change_to_json(StateChange(state, task.end_time or row["create_time"]))]
        connection.execute(update(jobs).where(jobs.c.id == task.task_id).values(values))

    def purge(self, before: datetime, most: int) -> int:
        """Forgets jobs that ended before a time, with their logs.

        Args:
            before: The time.
            most: How many at most.

        Returns:
            How many there were.
        """
        with self._engine.connect() as connection:
            old = select(jobs.c.id).where(jobs.c.end_time < before).limit(most)
            ids = list(connection.execute(old).scalars())

        def forget(connection: Connection) -> None:
            connection.execute(delete(log_lines).where(log_lines.c.job_id.in_(ids)))
            connection.execute(delete(job_labels).where(job_labels.c.job_id.in_(ids)))
            connection.execute(delete(pipeline_runs).where(pipeline_runs.c.job_id.in_(ids)))
            connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))

        if ids:
            write(self._engine, forget)
        return len(ids)

    def _one(self, *conditions: Any, job_id: str, project: str = "") -> Job:
        with self._engine.connect() as connection:
            row = connection.execute(select(*WHOLE).select_from(SOURCE).where(*conditions)).mappings().one_or_none()
            if row is None:
                raise JobNotFound(job_id, project)
            return job_of(row, _labels(connection, [job_id])[job_id])


def jobs_of(connection: Connection, rows: Sequence[RowMapping]) -> list[Job]:
    """Returns the jobs of rows, with their labels."""
    labels = _labels(connection, [row["id"] for row in rows])
    return [job_of(row, labels[row["id"]]) for row in rows]


def _labels(connection: Connection, job_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(job_labels).where(job_labels.c.job_id.in_(job_ids))):
        found[row.job_id][row.key] = row.value
    return found


def _open_row(connection: Connection, job_id: str) -> RowMapping:
    found = select(jobs.c.history, jobs.c.failures).where(jobs.c.id == job_id, jobs.c.state == NOT_ENDED).with_for_update()
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise JobNotFound(job_id)
    return row


def check_held(connection: Connection, attempt: Attempt) -> None:
    """Lets pass what an attempt writes elsewhere that has the job.

    Raises:
        LeaseLost: Another attempt has begun.
    """
    _held_row(connection, attempt)


def _held_row(connection: Connection, attempt: Attempt) -> RowMapping:
    held = (jobs.c.id == attempt.job_id) & (jobs.c.attempt_token == attempt.token) & (jobs.c.state == NOT_ENDED)
    columns = (jobs.c.history, jobs.c.failures, jobs.c.validations, jobs.c.outputs)
    row = connection.execute(select(*columns).where(held).with_for_update()).mappings().one_or_none()
    if row is None:
        raise LeaseLost(f"job {attempt.job_id!r} is another attempt's")
    return row
