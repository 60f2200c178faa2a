"""The tasks of subscriptions."""

from __future__ import annotations

from servers.runtime.work import NewTask, TaskState, TaskTable

KIND = "consume"
"""Kind of the tasks."""

_MAX_ATTEMPTS = 2**31 - 1
"""A subscription has no last attempt; how patiently it is tried again, the work itself decides."""

_MOST = 1000


def new_task(task_id: str, project: str, dataset: str) -> NewTask:
    """Returns the task of a subscription that becomes active."""
    return NewTask(task_id=task_id, kind=KIND, payload={"project": project, "dataset": dataset}, max_attempts=_MAX_ATTEMPTS)


def is_any_running(tasks: TaskTable, project: str, dataset: str) -> bool:
    """Whether a worker has a subscription that writes to a dataset."""
    place = {"project": project, "dataset": dataset}
    return any(task.payload == place for task in tasks.find(kind=KIND, state=TaskState.RUNNING, limit=_MOST))
