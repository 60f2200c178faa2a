"""Where a job stands that has a row of its own beside its task's.

Until it ends, its task says how it stands: one with the job's id, in the same database. From then on the job's own row says it, since tasks
are purged. Every component that has jobs keeps them so.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ColumnElement, and_, case, true

from servers.runtime.work.task import TaskState
from servers.runtime.work.task_rows import tasks

NOT_ENDED = ""
"""In the column for the state of a job's own row."""


class JobState(StrEnum):
    """Where a job is in its life, as callers see it: the names of `mlops.common.v1.JobState`."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def is_running(own_state: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a worker has a job.

    Args:
        own_state: Column of the job's own row, which is joined with that of its task.
    """
    return and_(own_state == NOT_ENDED, tasks.c.state == TaskState.RUNNING.value)


def is_queued(own_state: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a job waits for a worker; see `is_running`."""
    return and_(own_state == NOT_ENDED, tasks.c.state == TaskState.QUEUED.value)


def is_lost(own_state: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a job has not ended, and nobody works on it any more; see `is_running`."""
    return and_(own_state == NOT_ENDED, tasks.c.task_id.is_(None))


def state_of(own_state: ColumnElement[str]) -> ColumnElement[str]:
    """The name of a `JobState`; see `is_running`."""
    return case(
        (own_state != NOT_ENDED, own_state),
        (tasks.c.task_id.is_(None), JobState.FAILED.value),
        (and_(tasks.c.state == TaskState.RUNNING.value, tasks.c.cancel_requested == true()), JobState.CANCELLING.value),
        else_=tasks.c.state,
    )
