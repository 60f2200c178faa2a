"""Sketches of new data files, made after whatever wrote them, so that nobody who asks for a profile waits for them."""

from __future__ import annotations

from collections.abc import Callable

from grpc import StatusCode
from sqlalchemy import Connection

from servers.ingestion.data_process import DataProcesses
from servers.ingestion.deleting import is_being_deleted
from servers.ingestion.profiles.tasks import KIND, tasks_of
from servers.ingestion.records import Dataset
from servers.runtime.errors import DomainError
from servers.runtime.work import NewTask, Result, Retry, Run, TaskState, TaskTable

_MAX_ATTEMPTS = 5
_PASSING = (StatusCode.UNAVAILABLE, StatusCode.ABORTED)


class Sketching:
    """Makes sketches of datasets that have a new version.

    Args:
        tasks: The component's tasks.
        processes: Where data are read.
        make_id: Makes identifiers of tasks.
    """

    def __init__(self, tasks: TaskTable, processes: DataProcesses, make_id: Callable[[], str]) -> None:
        self._tasks = tasks
        self._processes = processes
        self._make_id = make_id

    def enqueue(self, connection: Connection, dataset: Dataset) -> None:
        """Keeps that a dataset has a new version.

        Args:
            connection: Within the transaction in which it gets it.
            dataset: The dataset.
        """
        payload = {"project": dataset.project, "dataset": dataset.name}
        new = NewTask(task_id=f"profile-{self._make_id()}", kind=KIND, payload=payload, max_attempts=_MAX_ATTEMPTS)
        self._tasks.enqueue(connection, new)

    def work(self, run: Run) -> Result:
        """Makes what sketches the newest version lacks: the handler of `KIND`. May be repeated."""
        project, dataset = str(run.payload["project"]), str(run.payload["dataset"])
        # The last one in the queue does the work of all: many small commits are one look at the table.
        if tasks_of(self._tasks, project, dataset, TaskState.QUEUED) or is_being_deleted(self._tasks, project, dataset):
            return Result({"sketched": 0})
        try:
            return Result({"sketched": self._processes.run("sketch", run.payload, check=run.check)})
        except DomainError as error:
            if error.code in _PASSING:
                raise Retry(error) from error
            raise
