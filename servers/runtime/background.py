"""Work that a server repeats on an interval, in one daemon thread each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_LOGGER = logging.getLogger(__name__)


class Repeated:
    """Runs a function again and again until it is closed.

    Args:
        name: Name of the thread.
        work: What to run; an exception is logged and ends only that run.
        interval_s: Pause between two runs, in seconds.
    """

    def __init__(self, name: str, work: Callable[[], object], interval_s: float) -> None:
        self._name = name
        self._work = work
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ends the current pause."""
        self._wake.set()

    def close(self) -> None:
        """Ends the thread after the run that is under way."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._work()
            except Exception:  # the next run may succeed, and the thread must live to try it
                _LOGGER.exception("%s failed", self._name)
            self._wake.wait(self._interval_s)
            self._wake.clear()
