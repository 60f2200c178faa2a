"""Whether an attempt may go on: it is wanted, and it has time."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.features.jobs.errors import FeatureJobTimedOut
from servers.runtime.work import Cancelled, Run, TaskTable

_LOOK_S = 0.5


class AttemptWatch:
    """Watches one attempt.

    Args:
        run: The attempt.
        tasks: The table, which knows at once what the lease's renewal tells seconds later.
        timeout_s: Longest time, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(self, run: Run, tasks: TaskTable, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._clock = clock
        self._end = clock() + timeout_s
        self._look_at = clock() + _LOOK_S

    def check(self) -> None:
        """Lets the attempt pass while it is wanted and has time.

        Raises:
            Cancelled: Somebody wants it to end.
            LeaseLost: It is another worker's.
            FeatureJobTimedOut: Its time is over.
        """
        self._run.check()
        now = self._clock()
        if now >= self._end:
            raise FeatureJobTimedOut(self._timeout_s)
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            # The worker may be another server's than the one that was asked to cancel.
            task = self._tasks.get(self._run.task_id)
            if task is not None and task.cancel_requested:
                raise Cancelled(f"job {self._run.task_id!r} is to end")
