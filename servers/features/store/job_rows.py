"""What the rows of materialisations and training sets have in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from servers.features.jobs.records import Failure
from servers.runtime.work import Task
from servers.runtime.work.job_state import JobState

JOB_LOST = "FEATURE_JOB_LOST"
"""Reason of a job that has not ended and that nobody works on any more."""

_INTERNAL = 13
_LOST = "nobody works on it any more, and nothing says how far it came; ask for another one"


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Gives a failure as the row has it."""
    return asdict(failure)


def failure_of(row: RowMapping) -> Failure | None:
    """Returns why the job of a row failed; None where it did not."""
    if row["is_lost"]:
        return Failure(_INTERNAL, JOB_LOST, _LOST)
    return None if row["error"] is None else Failure(**row["error"])


def ended_values(row: RowMapping, task: Task) -> dict[str, Any]:
    """Returns what the row has from the end of its task on.

    Args:
        row: With the `error` that the last attempt left.
        task: As it ended.
    """
    values: dict[str, Any] = {"state": task.state.value, "start_time": task.start_time, "end_time": task.end_time}
    if task.state.value != JobState.FAILED.value:
        values["error"] = None
    elif task.error is not None and (row["error"] is None or row["error"]["reason"] != task.error.reason):
        # Nobody raised it: a worker was lost for good, or failed in a way that it did not foresee.
        values["error"] = failure_to_json(Failure(_INTERNAL, task.error.reason, task.error.message))
    return values
