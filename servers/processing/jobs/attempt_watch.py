"""Whether an attempt may go on: it is wanted, it has time, and its processes have no more memory than they may."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.processing.errors import JobOutOfMemory, JobTimedOut
from servers.processing.job_process.process_tree import ProcessTree
from servers.runtime.work import Cancelled, Run, TaskTable

_LOOK_S = 0.5


class AttemptWatch:
    """Watches one attempt.

    Args:
        run: The attempt.
        tasks: The table, which knows at once what the lease's renewal tells seconds later.
        timeout_s: Longest time, in seconds.
        memory_bytes: Most memory.
        clock: Monotonic seconds.
    """

    def __init__(
        self, run: Run, tasks: TaskTable, timeout_s: float, memory_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run = run
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._clock = clock
        self._end = clock() + timeout_s
        self._look_at = clock() + _LOOK_S
        self.peak_bytes = 0
        """Most memory that was seen."""

    @property
    def left_s(self) -> float:
        """Time that is left, in seconds."""
        return max(0.0, self._end - self._clock())

    def check(self) -> None:
        """Lets the attempt pass while it is wanted and has time.

        Raises:
            Cancelled: Somebody wants the job to end.
            LeaseLost: It is another worker's.
            JobTimedOut: Its time is over.
        """
        self._run.check()
        now = self._clock()
        if now >= self._end:
            raise JobTimedOut(self._timeout_s)
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            # The worker may be another server's than the one that was asked to cancel.
            task = self._tasks.get(self._run.task_id)
            if task is not None and task.cancel_requested:
                raise Cancelled(f"job {self._run.task_id!r} is to end")

    def check_processes(self, tree: ProcessTree) -> None:
        """The same, and looks at the memory of processes.

        Raises:
            JobOutOfMemory: It is more than the job may have.
        """
        memory_bytes = tree.memory_bytes()
        self.peak_bytes = max(self.peak_bytes, memory_bytes)
        if memory_bytes > self._memory_bytes:
            raise JobOutOfMemory(self._memory_bytes, memory_bytes)
        self.check()
