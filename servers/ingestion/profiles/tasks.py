"""The tasks that make sketches, as others see them."""

from __future__ import annotations

from servers.runtime.work import Task, TaskState, TaskTable

KIND = "profile"
"""Kind of the tasks."""


def tasks_of(tasks: TaskTable, project: str, dataset: str, state: TaskState) -> list[Task]:
    """Returns the tasks of a dataset that are in a state."""
    place = {"project": project, "dataset": dataset}
    return [task for task in tasks.find(kind=KIND, state=state) if task.payload == place]


def are_over(tasks: TaskTable, project: str, dataset: str) -> bool:
    """Asks the tasks of a dataset to end, and says whether none runs any more."""
    for state in (TaskState.QUEUED, TaskState.RUNNING):
        for task in tasks_of(tasks, project, dataset, state):
            tasks.cancel(task.task_id)
    return not tasks_of(tasks, project, dataset, TaskState.RUNNING)
