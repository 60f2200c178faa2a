"""The tasks of open streams: who has the right to write to which dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from servers.runtime.work import Task, TaskState, TaskTable

KIND_PREFIX = "stream."
"""Beginning of the kinds of these tasks: each process has one of its own."""

_PAGE = 100


def streams_into(tasks: TaskTable, place: Mapping[str, Any] | None = None) -> Iterator[Task]:
    """Gives the tasks of streams that are open, or were left behind by a process that died.

    Args:
        tasks: The component's tasks.
        place: What their payload has, such as `project` and `dataset`; None = anything.
    """
    after = ""
    while found := tasks.find(state=TaskState.RUNNING, after=after, limit=_PAGE):
        after = found[-1].task_id
        for task in found:
            if task.kind.startswith(KIND_PREFIX) and (place is None or place.items() <= task.payload.items()):
                yield task


def end_streams(tasks: TaskTable, project: str, dataset: str) -> bool:
    """Asks the streams into a dataset to end.

    Args:
        tasks: The component's tasks.
        project: Of the dataset.
        dataset: The dataset.

    Returns:
        Whether there are any.
    """
    now = datetime.now(UTC)
    place = {"project": project, "dataset": dataset}
    # Who did not prolong its lease writes no more.
    is_open = [task for task in streams_into(tasks, place) if task.lease_end is not None and task.lease_end > now]
    for task in is_open:
        tasks.cancel(task.task_id)
    return bool(is_open)
