"""The log of one job, from its worker's side."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from servers.processing.log_lines import LogLine, shortened
from servers.processing.store import Logs

_LOGGER = logging.getLogger(__name__)
_WAITING_LINES = 1000

SERVER = "job"
"""Source of what the server itself says of a job."""


class JobLog:
    """Collects lines and keeps them together. Threads may share it.

    Args:
        job_id: Whose.
        logs: Where they are kept.
        clock: The time now.
    """

    def __init__(self, job_id: str, logs: Logs, clock: Callable[[], datetime]) -> None:
        self._job_id = job_id
        self._logs = logs
        self._clock = clock
        self._waiting: deque[LogLine] = deque()
        self._keeping = threading.Lock()

    def say(self, text: str, level: str = "INFO") -> None:
        """Adds a line of the server's, and keeps what there is."""
        self.add([LogLine(self._clock(), level, SERVER, shortened(text))])
        self.flush()

    def add(self, lines: Sequence[LogLine]) -> None:
        """Takes lines. Whoever writes faster than they can be kept waits."""
        self._waiting.extend(lines)
        if len(self._waiting) >= _WAITING_LINES:
            self.flush()

    def flush(self) -> None:
        """Keeps what was taken. What cannot be kept is lost: a log is no reason to stop a job."""
        with self._keeping:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self._logs.append(self._job_id, lines)
            except Exception:
                _LOGGER.exception("%d lines of the log of job %s are lost", len(lines), self._job_id)
