"""Processor time of a server with all its processes, and pauses in which it takes none."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

# Timers that ran out during a pause do what they do first.
_CATCH_UP_S = 0.3


class ProcessTree:
    """A process, its descendants, and those of them that ended.

    Args:
        pid: Where the tree begins.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processes(self) -> list[psutil.Process]:
        """Returns those that live."""
        return [self._root, *self._root.children(recursive=True)]

    def seconds(self) -> float:
        """Returns user and system time until now. The kernel counts in steps of 10 ms a process."""
        total = 0.0
        for process in self.processes():
            # One that ends between the listing and the question is in the time of its parent's children by then.
            with suppress(psutil.NoSuchProcess):
                used = process.cpu_times()
                total += used.user + used.system + used.children_user + used.children_system
        return total

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets no process of it run meanwhile."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Interrupts `paused`."""
        self._signal(signal.SIGCONT)
        try:
            time.sleep(_CATCH_UP_S)
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
