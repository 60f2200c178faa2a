"""Threads that work on tasks."""

from __future__ import annotations

import logging
import random as randomness
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from servers.runtime.background import Repeated
from servers.runtime.database_errors import from_database
from servers.runtime.work.endings import Ending, Work, perform, write_ending
from servers.runtime.work.holds import Holds
from servers.runtime.work.run import Handler, Hold, Run
from servers.runtime.work.settings import WorkSettings
from servers.runtime.work.signals import LeaseLost
from servers.runtime.work.task import Lease
from servers.runtime.work.task_table import PURGE_BATCH, Change, TaskTable

_LOGGER = logging.getLogger(__name__)
_PURGE_INTERVAL_S = 60.0


class Workers:
    """Does the tasks of a component, in a bounded number of threads.

    Any number of processes may have workers on one table. Nothing has to be recovered when one starts: a task that was left behind is
    claimed like one that waits, and by whoever is alive.

    Args:
        tasks: The table.
        owner: Unique name of this life of the process, at most 128 characters: after a restart it is another.
        settings: How patiently.
        clock: The time now; the table's.
        random: A number from 0 to 1, which spreads retries.
    """

    def __init__(
        self,
        tasks: TaskTable,
        *,
        owner: str,
        settings: WorkSettings | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._tasks = tasks
        self._owner = owner
        self._settings = settings or WorkSettings()
        self._random = random
        self._works: dict[str, Work] = {}
        self._holds = Holds(tasks, owner, self._settings.lease_s, clock)
        self._stopping = threading.Event()
        self._claims = Repeated("work-claims", self._claim, self._settings.poll_interval_s)
        self._leases = Repeated("work-leases", self._holds.renew, self._settings.lease_s / 3)
        # Apart: who waits for a row that somebody holds must not lose the leases of all that runs here.
        self._losses = Repeated("work-losses", self._end_lost, self._settings.lease_s / 3)
        self._purges = Repeated("work-purges", self._purge, _PURGE_INTERVAL_S)
        self._end_watch: Callable[[], None] = lambda: None

    def register(self, kind: str, handler: Handler, *, retried: tuple[type[Exception], ...] = ()) -> None:
        """Names the handler of a kind of tasks, before `start`.

        Args:
            kind: As in `NewTask`.
            handler: Does one task; see `Run`. A `DomainError` that it raises is the task's error. `Retry` asks for another attempt, and so
                does a database that is away. Any other exception goes to the log, and fails the task as INTERNAL.
            retried: Exceptions after which there is another attempt, too.

        Raises:
            ValueError: The kind has a handler.
        """
        if kind in self._works:
            raise ValueError(f"tasks of the kind {kind!r} have a handler")
        self._works[kind] = Work(handler, retried)

    def start(self) -> None:
        """Starts working, on tasks of the registered kinds."""
        self._end_watch = self._tasks.watch(self._look)
        for repeated in (self._claims, self._leases, self._losses, self._purges):
            repeated.start()

    def stop(self, grace_s: float | None = None) -> None:
        """Stops: takes nothing more, waits for what runs, and gives back to the queue what still does.

        A handler that never calls `check` goes on in its daemon thread; what it would write about its task is refused.

        Args:
            grace_s: How long to wait, in seconds; None = the setting.
        """
        self._stopping.set()
        self._end_watch()
        self._claims.close()
        self._holds.wait_until_none(self._settings.grace_s if grace_s is None else grace_s)
        self._holds.give_back()
        self._leases.close()
        self._losses.close()
        self._purges.close()

    def _look(self, change: Change) -> None:
        if change is Change.ENQUEUED:
            self._claims.wake()
        else:
            self._leases.wake()

    def _claim(self) -> None:
        free = self._settings.threads - len(self._holds)
        if free <= 0 or self._stopping.is_set():
            return
        for lease in self._tasks.claim(self._owner, self._works.keys(), lease_s=self._settings.lease_s, limit=free):
            self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        hold = self._holds.add(lease)
        try:
            threading.Thread(target=self._work, args=(hold,), name=f"work-{lease.task.kind}", daemon=True).start()
        except RuntimeError:
            # No thread can be started. The lease runs out, and somebody takes the task.
            self._holds.remove(hold)
            raise

    def _work(self, hold: Hold) -> None:
        try:
            ending = perform(self._works[hold.lease.task.kind], Run(self._tasks, hold))
            if ending is not None:
                self._write(hold, ending)
        except LeaseLost as error:
            _LOGGER.warning("the outcome of an attempt counts no more: %s", error)
        except Exception:
            _LOGGER.exception("the outcome of task %s cannot be written; it is attempted again", hold.lease.task.task_id)
        finally:
            self._holds.remove(hold)
            self._claims.wake()

    def _write(self, hold: Hold, ending: Ending) -> None:
        # While the database is away the lease lasts; then somebody else does the work again, which costs more than waiting.
        while True:
            try:
                write_ending(self._tasks, hold.lease, ending, self._settings, self._random)
            except Exception as error:
                if from_database(error) is None or hold.is_lost:
                    raise
                _LOGGER.warning("the outcome of task %s is written later: %s", hold.lease.task.task_id, error)
                time.sleep(self._settings.poll_interval_s)
            else:
                return

    def _end_lost(self) -> None:
        if not self._stopping.is_set():
            self._tasks.end_lost(self._works.keys())

    def _purge(self) -> None:
        while not self._stopping.is_set() and self._tasks.purge(self._settings.retention_s) == PURGE_BATCH:
            pass
