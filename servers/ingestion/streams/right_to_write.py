"""The right of a stream to write to its dataset: a task that the stream itself holds for as long as it is open (ADR 51).

Of a stream and a deletion of its dataset, each claims its task before it looks for the other one's, as ingestions do. A deletion asks
the streams that it sees to end; a stream that sees a deletion, also one that waits, ends itself. Of two streams of one producer into one
dataset the newer asks the older to end, and begins once that has: so what it learns of the producer's position stays true.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from servers.ingestion.deleting import is_deletion_wanted
from servers.ingestion.errors import DatasetBusy
from servers.ingestion.streams.errors import StreamInterrupted, StreamTakenOver
from servers.ingestion.streams.stream_tasks import KIND_PREFIX, streams_into
from servers.runtime.background import Repeated
from servers.runtime.work import LeaseLost, NewTask, Task, TaskTable
from servers.runtime.work.holds import Holds
from servers.runtime.work.run import Hold
from servers.runtime.work.task_table import Change
from sql_engine import write

_LEASE_S = 5.0
_LOOK_S = 0.05


class RightToWrite:
    """The right of one stream.

    Args:
        hold: Its lease.
        is_deleted: Whether somebody wants to delete the dataset.
        dataset: The dataset.
        producer: Whose stream it is.
    """

    def __init__(self, hold: Hold, is_deleted: Callable[[], bool], dataset: str, producer: str) -> None:
        self._hold = hold
        self._is_deleted = is_deleted
        self._dataset = dataset
        self._producer = producer

    @property
    def is_wanted_back(self) -> bool:
        """Whether somebody waits for the stream to end, or it may no longer write. Asks nobody."""
        return self._hold.is_cancelled or self._hold.is_lost

    def check_lease(self) -> None:
        """Lets pass as long as nobody else can have begun to write, or to delete. Asks nobody.

        Raises:
            StreamInterrupted: UNAVAILABLE: the database could not be reached for too long.
        """
        if self._hold.is_lost:
            raise StreamInterrupted("the server could not prolong its right to write to the dataset")

    def check(self) -> None:
        """Lets pass as long as the stream may go on.

        Raises:
            StreamInterrupted: UNAVAILABLE: the database could not be reached for too long.
            DatasetBusy: UNAVAILABLE: the dataset is to be deleted.
            StreamTakenOver: FAILED_PRECONDITION: the producer has a newer stream.
        """
        self.check_lease()
        if self._hold.is_cancelled:
            if self._is_deleted():
                raise DatasetBusy(self._dataset, "it is being deleted")
            raise StreamTakenOver(self._producer)


class RightsToWrite:
    """Gives streams of this process the right to write.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        clock: The time now; the tasks'.
    """

    def __init__(self, engine: Engine, tasks: TaskTable, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        life = uuid.uuid4().hex
        self._engine = engine
        self._tasks = tasks
        self._clock = clock
        self._owner = f"streams-{life}"
        # A kind of this life alone: no workers of other processes take its tasks.
        self._kind = f"{KIND_PREFIX}{life}"
        self._holds = Holds(tasks, self._owner, _LEASE_S, clock)
        self._renewals = Repeated("stream-leases", self._holds.renew, _LEASE_S / 4)
        self._end_watch: Callable[[], None] = lambda: None
        self._claiming = threading.Lock()

    def start(self) -> None:
        """Begins to prolong what is held."""
        self._end_watch = self._tasks.watch(lambda change: self._renewals.wake() if change is Change.CANCELLED else None)
        self._renewals.start()

    def close(self) -> None:
        """Ends that; called once no stream is open any more."""
        self._end_watch()
        self._renewals.close()

    @contextmanager
    def taken(self, project: str, dataset: str, producer: str, check: Callable[[], None]) -> Iterator[RightToWrite]:
        """Gives a stream the right to write, as long as the block runs.

        Args:
            project: Of the dataset.
            dataset: Where the stream writes.
            producer: Whose stream it is.
            check: Called while it waits for an older stream to end; may raise.

        Raises:
            DatasetBusy: UNAVAILABLE: the dataset is to be deleted.
            StreamTakenOver: FAILED_PRECONDITION: the producer has opened a newer stream meanwhile.
        """
        place = {"project": project, "dataset": dataset}
        hold = self._claimed({**place, "producer": producer})
        try:
            right = RightToWrite(hold, lambda: is_deletion_wanted(self._tasks, project, dataset), dataset, producer)
            if is_deletion_wanted(self._tasks, project, dataset):
                raise DatasetBusy(dataset, "it is being deleted")
            self._end_older(hold.lease.task, right, check)
            yield right
        finally:
            self._holds.remove(hold)
            with suppress(LeaseLost):
                self._tasks.succeed(hold.lease)

    def _claimed(self, payload: Mapping[str, Any]) -> Hold:
        new = NewTask(task_id=f"stream-{uuid.uuid4()}", kind=self._kind, payload=payload, max_attempts=1)
        # Two at once could claim each other's.
        with self._claiming:
            write(self._engine, lambda connection: self._tasks.enqueue(connection, new))
            while True:
                (lease,) = self._tasks.claim(self._owner, [self._kind], lease_s=_LEASE_S)
                if lease.task.task_id == new.task_id:
                    break
                # Left by a stream whose claim failed.
                self._tasks.end_cancelled(lease)
        return self._holds.add(lease)

    def _end_older(self, own: Task, right: RightToWrite, check: Callable[[], None]) -> None:
        found = [task for task in streams_into(self._tasks) if task.task_id != own.task_id]
        # Nobody works on what dead processes left, and without an end it would never be purged.
        self._tasks.end_lost({task.kind for task in found if not self._is_held(task)})
        rivals = [task for task in found if self._is_held(task) and task.payload == own.payload]
        older = [task for task in rivals if _age(task) < _age(own)]
        if len(older) < len(rivals):
            raise StreamTakenOver(own.payload["producer"])
        for task in older:
            self._tasks.cancel(task.task_id)
        pause = threading.Event()
        for task in older:
            while self._is_open(task):
                check()
                right.check()
                pause.wait(_LOOK_S)

    def _is_open(self, task: Task) -> bool:
        now = self._tasks.get(task.task_id)
        return now is not None and self._is_held(now)

    def _is_held(self, task: Task) -> bool:
        return task.lease_end is not None and task.lease_end > self._clock()


def _age(task: Task) -> tuple[datetime, str]:
    return task.create_time, task.task_id
