"""Subscriptions at work: tasks that last until somebody stops them.

Whatever may pass, a Kafka that does not answer above all, is tried again after a pause, during which others have their turn. Everything
else stops the subscription, since a person has to decide.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from grpc import StatusCode
from pydantic import SecretStr
from sqlalchemy import Connection, Engine

from servers.ingestion.catalogue import dataset_of
from servers.ingestion.data_process import DataProcessDied, DataProcesses
from servers.ingestion.deleting import BUSY_PAUSE_S, is_deletion_wanted
from servers.ingestion.errors import DatasetBusy
from servers.ingestion.store import Datasets
from servers.ingestion.store.subscriptions import Subscriptions
from servers.ingestion.subscriptions.clusters import properties_of
from servers.ingestion.subscriptions.records import Subscription
from servers.runtime.data_process.messages import facts_of
from servers.runtime.errors import DomainError
from servers.runtime.work import Cancelled, Result, Retry, Run, TaskTable
from servers.runtime.work.settings import WorkSettings, retry_pause_s
from sql_engine import write

_LOGGER = logging.getLogger(__name__)

_PASSING = (StatusCode.UNAVAILABLE, StatusCode.ABORTED, StatusCode.RESOURCE_EXHAUSTED)
_LOOK_S = 0.05
_STOP_S = 10.0
"""How long a process may take to write what it has and to leave its consumer group, in seconds."""


@dataclass(frozen=True, kw_only=True)
class ConsumingLimits:
    """What one subscription may take.

    Args:
        most_rows: Messages of one commit.
        most_bytes: The same, about, in bytes.
        commits_between_compactions: After how many commits small files are joined.
        patience_s: How long no broker may be reachable before the work is given up until the next attempt, in seconds.
        longest_retry_s: Longest pause before that, in seconds.
    """

    most_rows: int
    most_bytes: int
    commits_between_compactions: int
    patience_s: float
    longest_retry_s: float


class Consuming:
    """Does the work of subscriptions.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        subscriptions: What is known of them.
        datasets: What is known of datasets.
        processes: Where topics are read and datasets written.
        clusters: The Kafkas there are.
        limits: What one may take.
        random: A number from 0 to 1, which spreads attempts.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        subscriptions: Subscriptions,
        datasets: Datasets,
        processes: DataProcesses,
        clusters: Mapping[str, Mapping[str, SecretStr]],
        limits: ConsumingLimits,
        random: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._subscriptions = subscriptions
        self._datasets = datasets
        self._processes = processes
        self._clusters = clusters
        self._limits = limits
        self._retries = WorkSettings(longest_retry_s=limits.longest_retry_s)
        self._random = random
        self._is_stopping = threading.Event()
        self._at_work = 0
        self._changed = threading.Condition()

    def stop(self) -> None:
        """Asks all that are at work to write what they have and to leave their groups, and waits for them for a while."""
        self._is_stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work, _STOP_S)

    def work(self, run: Run) -> Result:
        """Works on one subscription: the handler of `KIND`. May be repeated: the dataset knows how far it is."""
        found = self._subscriptions.of_task(run.task_id)
        if found is None:
            return Result()
        if is_deletion_wanted(self._tasks, found.project, found.dataset):
            raise Retry(DatasetBusy(found.dataset, "it is being deleted"), delay_s=BUSY_PAUSE_S)
        try:
            with self._counted():
                self._consume(run, found)
        except DomainError as error:
            if not self._is_stopping.is_set():
                return self._failed(run, error)
        return self._until_given_back(run)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _until_given_back(self, run: Run) -> NoReturn:
        """Keeps the task until the workers stop, too: given back earlier, they would take it again."""
        while True:
            run.check()
            time.sleep(_LOOK_S)

    def _consume(self, run: Run, found: Subscription) -> None:
        stop_file = self._processes.scratch_folder / f"stop-{uuid.uuid4().hex}"
        request = found.request
        arguments = {
            "project": found.project,
            "dataset": found.dataset,
            "subscription": found.name,
            "cluster": found.cluster,
            "properties": properties_of(self._clusters, found.cluster),
            "group": found.group,
            "mode": found.mode,
            **{name: request[name] for name in ("topics", "payload", "keys", "contract", "unreadable", "start", "commit_interval_s")},
            "known": [list(entry[:4]) for entry in found.positions],
            "is_started": found.is_started,
            "accepts_loss": found.accepts_loss,
            "most_rows": self._limits.most_rows,
            "most_bytes": self._limits.most_bytes,
            "commits_between_compactions": self._limits.commits_between_compactions,
            "patience_s": self._limits.patience_s,
            "stop_file": str(stop_file),
        }
        deadline: float | None = None

        def check() -> None:
            nonlocal deadline
            try:
                run.check()
                is_wanted = not self._is_stopping.is_set()
            except Cancelled:
                if deadline is not None and time.monotonic() > deadline:
                    raise
                is_wanted = False
            if not is_wanted and deadline is None:
                deadline = time.monotonic() + _STOP_S
                stop_file.touch()

        try:
            self._processes.run("consume", arguments, check=check, on_progress=lambda told: self._record(run, found, told))
        finally:
            stop_file.unlink(missing_ok=True)

    def _record(self, run: Run, found: Subscription, told: Mapping[str, Any]) -> None:
        described = told["dataset"]

        def keep(connection: Connection) -> None:
            self._subscriptions.record(connection, run.task_id, told)
            if described is not None:
                self._datasets.put(connection, dataset_of(found.project, found.dataset, described))

        write(self._engine, keep)

    def _failed(self, run: Run, error: DomainError) -> Result:
        facts = facts_of(error) | {"code": error.code.name}
        if error.code in _PASSING or error.reason == DataProcessDied.reason:
            known = self._subscriptions.of_task(run.task_id)
            write(self._engine, lambda connection: self._subscriptions.record_failure(connection, run.task_id, facts, is_final=False))
            attempt = 1 if known is None else known.failures + 1
            raise Retry(error, delay_s=retry_pause_s(self._retries, attempt, self._random)) from error
        _LOGGER.warning("a subscription stops: %s", error.message)

        def stop(connection: Connection) -> Result:
            self._subscriptions.record_failure(connection, run.task_id, facts, is_final=True)
            return run.succeed(connection)

        return write(self._engine, stop)
