"""Following the log of a job, whichever server works on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from servers.processing.errors import TooManyTails
from servers.processing.jobs.job_log import SERVER
from servers.processing.log_lines import LogLine
from servers.processing.store import Jobs, LogPage, Logs

_LINES = 100
"""Lines a message: of 16 KiB each they stay well below what a message may have."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0
_SIGN_OF_LIFE_S = 30.0
"""Proxies end transfers that are silent for longer."""


class Tailing:
    """Follows logs.

    Args:
        jobs: What is known of jobs.
        logs: Their logs.
        most: Callers at the same time.
    """

    def __init__(self, jobs: Jobs, logs: Logs, most: int) -> None:
        self._jobs = jobs
        self._logs = logs
        self._most = most
        self._places = threading.BoundedSemaphore(most)

    def lines(
        self, project: str, job_id: str, cursor: int, ends_at_last_line: bool, wait_unless_ending: Callable[[float], bool]
    ) -> Iterator[LogPage]:
        """Yields lines as they come, until the job has ended.

        Args:
            project: Its project.
            job_id: The job.
            cursor: Number of the line before the first.
            ends_at_last_line: Whether to end with the lines that there are.
            wait_unless_ending: Waits some seconds; says whether to go on.

        Raises:
            JobNotFound: The project has none of this id.
            TooManyTails: RESOURCE_EXHAUSTED: so many callers wait for lines already.
        """
        self._jobs.get(project, job_id)
        if ends_at_last_line:
            yield from self._lines(project, job_id, cursor, ends_at_last_line, wait_unless_ending)
            return
        if not self._places.acquire(blocking=False):
            raise TooManyTails(self._most)
        try:
            yield from self._lines(project, job_id, cursor, ends_at_last_line, wait_unless_ending)
        finally:
            self._places.release()

    def _lines(
        self, project: str, job_id: str, cursor: int, ends_at_last_line: bool, wait_unless_ending: Callable[[float], bool]
    ) -> Iterator[LogPage]:
        pause_s, heard_at = _FIRST_PAUSE_S, time.monotonic()
        while True:
            # Asked before the lines are read: after the end there come no more.
            is_last = ends_at_last_line or self._jobs.is_ended(project, job_id)
            page = self._logs.read(job_id, cursor, _LINES)
            if page.lines:
                yield self._told(page)
                cursor, pause_s, heard_at = page.cursor, _FIRST_PAUSE_S, time.monotonic()
                continue
            if is_last:
                return
            if time.monotonic() - heard_at >= _SIGN_OF_LIFE_S:
                yield page
                heard_at = time.monotonic()
            if not wait_unless_ending(pause_s):
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @staticmethod
    def _told(page: LogPage) -> LogPage:
        """Says where lines are missing."""
        if not page.cut:
            return page
        text = f"{page.cut:,} older lines are no longer kept (MLMESH_PROCESSING_LOG_LINES)"
        return LogPage((LogLine(page.lines[0].time, "WARNING", SERVER, text), *page.lines), page.cursor, page.cut)
