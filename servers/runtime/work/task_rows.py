"""The rows of tasks: the table, and what of a task stands in which column."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Row, Table

from servers.runtime.work.task import MAX_MESSAGE_CHARS, Failure, NewTask, Task, TaskState
from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

tasks = Table(
    "runtime_tasks",
    MetaData(),
    Column("task_id", ExactString(128), primary_key=True),
    Column("kind", ExactString(63)),
    Column("payload", JsonText),
    Column("state", ExactString(16)),
    Column("priority", Integer),
    Column("create_time", UtcDateTime),
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("not_before", UtcDateTime),
    Column("attempt", Integer),
    Column("max_attempts", Integer),
    Column("owner", ExactString(128)),
    Column("fence", BigInteger),
    Column("lease_end", UtcDateTime),
    Column("cancel_requested", Boolean),
    Column("progress", JsonText),
    Column("result", JsonText),
    Column("error_reason", ExactString(63)),
    Column("error_message", ExactText()),
)

_NOT_BEGUN = dict.fromkeys(("start_time", "end_time", "owner", "lease_end", "progress", "result", "error_reason", "error_message"))


def error_values(failure: Failure | None) -> dict[str, str | None]:
    """Returns what stands in the row of why a task failed."""
    if failure is None:
        return {"error_reason": None, "error_message": None}
    return {"error_reason": failure.reason, "error_message": failure.message[:MAX_MESSAGE_CHARS]}


def new_row(task: NewTask, now: datetime) -> dict[str, Any]:
    """Returns the row of a task that nobody has begun."""
    return {
        **_NOT_BEGUN,
        "task_id": task.task_id,
        "kind": task.kind,
        "payload": dict(task.payload),
        "state": TaskState.QUEUED,
        "priority": task.priority,
        "create_time": now,
        "not_before": task.not_before or now,
        "attempt": 0,
        "max_attempts": task.max_attempts,
        "fence": 0,
        "cancel_requested": False,
    }


def task_of(row: Row[Any]) -> Task:
    """Returns the task of a row."""
    values: dict[str, Any] = dict(row._mapping)
    reason, message = values.pop("error_reason"), values.pop("error_message")
    return Task(**values | {"state": TaskState(row.state), "error": None if reason is None else Failure(reason, message)})
