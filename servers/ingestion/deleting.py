"""Deletes datasets, and never one that somebody writes to.

Of an ingestion and a deletion of one dataset, each claims its task before it looks for the other one, so at least one of them sees the
other, steps back and tries again. So do streams (`streams.right_to_write`), but a deletion asks them to end, since they may last for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine

from servers.ingestion.data_process import DataProcesses
from servers.ingestion.errors import DatasetBusy, DeletionFailed
from servers.ingestion.profiles import tasks as profile_tasks
from servers.ingestion.store import Datasets, Ingestions
from servers.ingestion.streams.stream_tasks import end_streams
from servers.ingestion.subscriptions import tasks as subscription_tasks
from servers.ingestion.subscriptions.errors import DatasetSubscribed
from servers.runtime.work import NewTask, Result, Retry, Run, Task, TaskState, TaskTable
from sql_engine import write

KIND = "delete"
"""Kind of the tasks."""

BUSY_PAUSE_S = 1.0
"""Pause until somebody who has stepped back tries again, in seconds."""

LONGEST_BUSY_PAUSE_S = 30.0
"""The same of those that have a last attempt, in seconds: an S3 deletes a large dataset for minutes."""

_MAX_ATTEMPTS = 2**31 - 1
"""Who waits for others has not failed, and an ingestion may take hours."""


def is_being_deleted(tasks: TaskTable, project: str, dataset: str) -> bool:
    """Whether somebody deletes a dataset at this moment."""
    place = {"project": project, "dataset": dataset}
    return any(task.payload == place for task in tasks.find(kind=KIND, state=TaskState.RUNNING))


def is_deletion_wanted(tasks: TaskTable, project: str, dataset: str) -> bool:
    """Whether somebody deletes a dataset, or waits to."""
    place = {"project": project, "dataset": dataset}
    return any(
        task.payload == place for state in (TaskState.QUEUED, TaskState.RUNNING) for task in tasks.find(kind=KIND, state=state, limit=1000)
    )


class Deleting:
    """Deletes datasets with all their versions.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        ingestions: What is known of ingestions.
        datasets: What is known of datasets.
        processes: Where data are deleted.
        make_id: Makes identifiers of tasks.
        subscriber_of: Returns the name of a subscription that writes to a dataset; None where none does.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        ingestions: Ingestions,
        datasets: Datasets,
        processes: DataProcesses,
        make_id: Callable[[], str],
        subscriber_of: Callable[[str, str], str | None] = lambda _project, _dataset: None,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._ingestions = ingestions
        self._datasets = datasets
        self._processes = processes
        self._make_id = make_id
        self._subscriber_of = subscriber_of

    def start(self, project: str, dataset: str) -> str:
        """Keeps what is to be done, and returns the id of its task.

        Raises:
            DatasetNotFound: The project has none of this name.
            DatasetSubscribed: FAILED_PRECONDITION: a subscription writes to it, and would make it anew.
        """
        self._datasets.get(project, dataset)
        if (subscription := self._subscriber_of(project, dataset)) is not None:
            raise DatasetSubscribed(dataset, subscription)
        task_id = f"delete-{self._make_id()}"
        new = NewTask(task_id=task_id, kind=KIND, payload={"project": project, "dataset": dataset}, max_attempts=_MAX_ATTEMPTS)
        write(self._engine, lambda connection: self._tasks.enqueue(connection, new))
        return task_id

    def is_done(self, task_id: str) -> bool:
        """Whether a deletion has ended well.

        Raises:
            DeletionFailed: It has ended badly.
        """
        task: Task | None = self._tasks.get(task_id)
        if task is not None and task.state.is_terminal and task.error is not None:
            raise DeletionFailed(task.error.reason, task.error.message)
        return task is None or task.state is TaskState.SUCCEEDED

    def work(self, run: Run) -> Result:
        """Does one deletion: the handler of `KIND`. May be repeated."""
        project, dataset = str(run.payload["project"]), str(run.payload["dataset"])
        if self._ingestions.is_any_running(project, dataset):
            raise Retry(DatasetBusy(dataset, "an ingestion is writing to it"), delay_s=BUSY_PAUSE_S)
        if end_streams(self._tasks, project, dataset):
            raise Retry(DatasetBusy(dataset, "a stream is writing to it"), delay_s=BUSY_PAUSE_S)
        if subscription_tasks.is_any_running(self._tasks, project, dataset):
            raise Retry(DatasetBusy(dataset, "a subscription is writing to it"), delay_s=BUSY_PAUSE_S)
        if not profile_tasks.are_over(self._tasks, project, dataset):
            raise Retry(DatasetBusy(dataset, "somebody looks at what is in it"), delay_s=BUSY_PAUSE_S)
        self._processes.run("delete", run.payload, check=run.check)

        def finish(connection: Connection) -> Result:
            self._datasets.remove(connection, project, dataset)
            return run.succeed(connection)

        return write(self._engine, finish)
