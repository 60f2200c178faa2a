"""Ingestions from the request to the dataset: what outlives the request, and the work itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from grpc import StatusCode
from sqlalchemy import Connection, Engine

from servers.ingestion.catalogue import dataset_of
from servers.ingestion.data_process import DataProcesses, DataProcessUnavailable
from servers.ingestion.deleting import BUSY_PAUSE_S, LONGEST_BUSY_PAUSE_S, is_being_deleted
from servers.ingestion.errors import DatasetBusy, ExpectationsNotMet, TooManyIngestions
from servers.ingestion.inputs import Input, spooled
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.store import Datasets, Ingestions, Uploads
from servers.ingestion.store.errors import IngestionNotFound
from servers.ingestion.uploads.errors import UploadNotFound
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.effects import made_before
from servers.runtime.errors import DomainError
from servers.runtime.paging import Listing
from servers.runtime.work import Cancelled, NewTask, Result, Retry, Run, TaskTable
from sql_engine import write

KIND = "ingest"
"""Kind of the tasks."""

# The work itself is in another process, so an attempt fails for good, or its server was killed: that is no fault of the data.
_MAX_ATTEMPTS = 100
_PASSING = (StatusCode.UNAVAILABLE, StatusCode.ABORTED)
_LOOK_PATIENCE_S = 5.0
"""How long to look whether an attempt has written before it ended."""
_FIRST_LOOK_S = 0.01
_LONGEST_PAUSE_S = 0.25


class Ingesting:
    """Takes data in, and works on what was taken.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        ingestions: What is known of ingestions.
        datasets: What is known of datasets.
        processes: Where data are read and written.
        uploads: What is known of files that were sent in pieces.
        waiting: Calls that wait.
        most_unended: How many ingestions of a project may not have ended.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        ingestions: Ingestions,
        datasets: Datasets,
        processes: DataProcesses,
        uploads: Uploads,
        waiting: WaitingCalls,
        most_unended: int,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._ingestions = ingestions
        self._datasets = datasets
        self._processes = processes
        self._uploads = uploads
        self._waiting = waiting
        self._most_unended = most_unended

    def start(self, new: NewIngestion, given: Input | None, upload_id: str = "") -> Ingestion:
        """Keeps what is to be done; a worker does it from now on, whatever becomes of this process.

        Args:
            new: What is wanted; its `request` is that of the data process, without a source where the data are given.
            given: The data, where the request has them.
            upload_id: The upload that they are; empty where they are none. It stays until the ingestion has ended.

        Raises:
            TooManyIngestions: The project has as many as it may that have not ended.
            UploadNotFound: It is not there any more.
        """
        seen_version = self._datasets.newest_version(new.project, new.dataset)
        kept = replace(new, request={**new.request, "seen_version": seen_version})

        def keep(connection: Connection) -> None:
            if self._ingestions.count_unended(connection, new.project, self._most_unended) >= self._most_unended:
                raise TooManyIngestions(new.project, self._most_unended)
            self._ingestions.add(connection, kept, None if given is None else given.data)
            if upload_id and not self._uploads.use(connection, upload_id, new.id, new.create_time):
                raise UploadNotFound(upload_id, new.project)
            self._tasks.enqueue(connection, NewTask(task_id=new.id, kind=KIND, payload={}, max_attempts=_MAX_ATTEMPTS))

        write(self._engine, keep)
        return self._ingestions.get(new.project, new.id)

    def made_before(self, project: str) -> Ingestion | None:
        """Returns the ingestion that an earlier attempt at the current request has begun; see `servers.runtime.effects`."""
        return made_before(lambda ingestion_id: self._ingestions.get(project, ingestion_id), IngestionNotFound)

    def get(self, project: str, ingestion_id: str) -> Ingestion:
        """Returns an ingestion.

        Raises:
            IngestionNotFound: The project has none of this id.
        """
        return self._ingestions.get(project, ingestion_id)

    def page(self, project: str, listing: Listing) -> tuple[list[Ingestion], str]:
        """Returns a page of a project's ingestions, and the token of the next one."""
        return self._ingestions.page(project, listing)

    def cancel(self, project: str, ingestion_id: str) -> Ingestion:
        """Ends an ingestion that waits, and stops one that runs; one that has ended stays as it is.

        Raises:
            IngestionNotFound: The project has none of this id.
        """
        self._ingestions.get(project, ingestion_id)
        self._tasks.cancel(ingestion_id)
        return self._ingestions.get(project, ingestion_id)

    def wait(self, project: str, ingestion_id: str, timeout_s: float, is_over: Callable[[], bool]) -> Ingestion:
        """Returns an ingestion once it has ended, the time is over, or nobody waits any more; at once where too many calls wait already.

        Args:
            project: Its project.
            ingestion_id: Its id.
            timeout_s: Longest time to wait, in seconds.
            is_over: Whether nobody waits any more.
        """
        with self._waiting.place() as may_wait:
            deadline = time.monotonic() + (timeout_s if may_wait else 0.0)
            pause_s = _FIRST_LOOK_S
            while True:
                found = self._ingestions.get(project, ingestion_id)
                left_s = deadline - time.monotonic()
                if found.state.is_final or left_s <= 0 or is_over():
                    return found
                time.sleep(min(pause_s, left_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def work(self, run: Run) -> Result:
        """Does one ingestion: the handler of `KIND`.

        The table takes the delivery of an ingestion once, so an attempt that died after its commit is not repeated in the data.
        """
        try:
            return self._work(run)
        except DomainError as error:
            # Of its error a task keeps reason and message alone.
            known = error.outcome if isinstance(error, ExpectationsNotMet) else {}
            outcome = {**known, "error_code": error.code.value[0], "error_metadata": error.metadata}
            write(self._engine, lambda connection: self._ingestions.record_outcome(connection, run.task_id, outcome))
            raise

    def _work(self, run: Run) -> Result:
        ingestion, request, data = self._ingestions.work_of(run.task_id)
        if is_being_deleted(self._tasks, ingestion.project, ingestion.dataset):
            pause_s = min(LONGEST_BUSY_PAUSE_S, BUSY_PAUSE_S * run.attempt)
            raise Retry(DatasetBusy(ingestion.dataset, "it is being deleted"), delay_s=pause_s)
        identity = {"ingestion_id": ingestion.id, "project": ingestion.project, "dataset": ingestion.dataset}
        given = None if data is None else Input(data, request["source"]["name"])
        with spooled(request["source"], given, self._processes.scratch_folder) as source:
            outcome = self._written({**request, **identity, "source": source}, run)
        described = outcome.pop("dataset")
        if outcome["is_refused"]:
            raise ExpectationsNotMet(outcome)

        def finish(connection: Connection) -> Result:
            self._ingestions.record_outcome(connection, ingestion.id, outcome)
            if described is not None:
                self._datasets.put(connection, dataset_of(ingestion.project, ingestion.dataset, described))
            return run.succeed(connection)

        return write(self._engine, finish)

    def _written(self, arguments: Mapping[str, Any], run: Run) -> dict[str, Any]:
        operation = arguments.get("operation", "ingest")
        try:
            outcome: dict[str, Any] = self._processes.run(operation, arguments, check=run.check, on_progress=run.progress)
        except Cancelled:
            # It may have committed before it was killed. Where nobody can say so soon, it is taken at its word.
            with suppress(DomainError):
                if (delivered := self._delivered(arguments)) is not None:
                    return delivered
            raise
        except DomainError as error:
            if error.code in _PASSING:
                raise Retry(error) from error
            # A process that died, or could not describe what it had done, may have committed before.
            try:
                delivered = self._delivered(arguments)
            except DomainError as unknown:
                raise Retry(unknown) from unknown
            if delivered is None:
                raise
            return delivered
        return outcome

    def _delivered(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Returns the outcome of an attempt that has ended, where it is in the dataset.

        Raises:
            DomainError: It cannot be said, or not soon.
        """
        deadline = time.monotonic() + _LOOK_PATIENCE_S

        def check() -> None:
            if time.monotonic() >= deadline:
                raise DataProcessUnavailable("it has not said in time whether the rows are in the dataset")

        found: dict[str, Any] | None = self._processes.run("delivered", arguments, check=check)
        return found
