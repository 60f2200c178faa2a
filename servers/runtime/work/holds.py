"""The leases that this process holds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from servers.runtime.work.run import Hold
from servers.runtime.work.signals import LeaseLost
from servers.runtime.work.task import Lease
from servers.runtime.work.task_table import TaskTable

_LOGGER = logging.getLogger(__name__)


class Holds:
    """The leases of one worker's life, renewed together.

    Args:
        tasks: The table.
        owner: Unique name of this life.
        lease_s: For how long a renewal prolongs them, in seconds.
        clock: The time now.
    """

    def __init__(self, tasks: TaskTable, owner: str, lease_s: float, clock: Callable[[], datetime]) -> None:
        self._tasks = tasks
        self._owner = owner
        self._lease_s = lease_s
        self._clock = clock
        self._changed = threading.Condition()
        self._holds: dict[tuple[str, int], Hold] = {}

    def __len__(self) -> int:
        with self._changed:
            return len(self._holds)

    def add(self, lease: Lease) -> Hold:
        """Takes a lease, to be renewed until it is removed."""
        hold = Hold(lease, self._clock)
        with self._changed:
            self._holds[lease.key] = hold
        return hold

    def remove(self, hold: Hold) -> None:
        """Forgets a lease whose work is over."""
        with self._changed:
            self._holds.pop(hold.lease.key, None)
            self._changed.notify_all()

    def renew(self) -> None:
        """Prolongs all, and has handlers know which tasks shall end and which are lost."""
        with self._changed:
            holds = dict(self._holds)
        if not holds:
            return
        renewal = self._tasks.renew(self._owner, [hold.lease for hold in holds.values()], lease_s=self._lease_s)
        for key, hold in holds.items():
            if key in renewal.lost:
                hold.lose()
            if key in renewal.prolonged:
                hold.end = renewal.end
            hold.is_cancelled = hold.is_cancelled or key in renewal.cancelled

    def wait_until_none(self, timeout_s: float) -> None:
        """Waits until the work of all is over, some seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._holds, timeout_s)

    def give_back(self) -> None:
        """Ends all: their handlers hear of it at the next `check`, and others may take the tasks at once."""
        with self._changed:
            holds = list(self._holds.values())
        for hold in holds:
            hold.lose()
        for hold in holds:
            try:
                self._tasks.give_back(hold.lease)
            except LeaseLost:
                _LOGGER.debug("task %s ended while it was to be given back", hold.lease.task.task_id)
            except Exception:  # its lease runs out, so it is only later that somebody takes it
                _LOGGER.exception("task %s cannot be given back", hold.lease.task.task_id)
