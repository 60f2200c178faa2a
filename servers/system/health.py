"""How the mesh is: every component asked at the same time, the answer kept for a moment."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

from servers.system.reports import ComponentReport, Health, MeshReport, overall
from servers.system.workers import as_one


class NoAnswerError(Exception):
    """A component does not answer. The text says why, without addresses: anyone may read it."""


Ask = Callable[[], ComponentReport]
"""Asks one process of a component how it is; raises `NoAnswerError`."""


_SHARE_WHILE_ILL = 0.25
_ADDRESSES = re.compile(
    r"(?:unix|ipv4|ipv6|dns|https?|postgresql|mysql|s3|file)(?:\+\w+)?:\S+"  # targets and URLs
    r"|(?<![\w.])(?:\.{0,2}/[^\s/:;,'\"]+){2,}/?"  # paths
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\[?[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,}\]?(?::\d+)?"
    r"|\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b"
)


def without_addresses(reason: str) -> str:
    """A reason for anyone to read: where things are is for the log."""
    return _ADDRESSES.sub("…", reason)


class HealthWatch:
    """Asks every component of the mesh.

    Args:
        components: How to ask each, by name: each of its processes, where it has several.
        cache_s: How long an answer is given again, in seconds; one that is not healthy a quarter of that, for those who wait for a better.
        now: The time now.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        components: Mapping[str, Sequence[Ask]],
        *,
        cache_s: float,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._components = dict(sorted(components.items()))
        self._cache_s = cache_s
        self._now = now
        self._clock = clock
        count = sum(len(asks) for asks in self._components.values())
        self._pool = ThreadPoolExecutor(max(1, count), thread_name_prefix="ask-health")
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._report: MeshReport | None = None
        self._last: dict[tuple[str, int], ComponentReport] = {}

    def report(self) -> MeshReport:
        """How the mesh is, at most `cache_s` old. While one caller asks, the others get the answer before."""
        known = self._report
        if known is not None and self._is_fresh(known):
            return known
        if not self._asking.acquire(blocking=known is None) and known is not None:
            return known
        try:
            if self._report is None or not self._is_fresh(self._report):
                self._report = self._ask_all()
                self._asked_at = self._clock()
            return self._report
        finally:
            self._asking.release()

    def close(self) -> None:
        """Stops asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_fresh(self, report: MeshReport) -> bool:
        return self._clock() - self._asked_at < self._cache_s * (1 if report.state is Health.HEALTHY else _SHARE_WHILE_ILL)

    def _ask_all(self) -> MeshReport:
        checked_at = self._now()
        asked = {name: [self._pool.submit(ask) for ask in asks] for name, asks in self._components.items()}
        reports = []
        for name, answers in asked.items():
            said = [self._said(name, number, answer, checked_at) for number, answer in enumerate(answers, 1)]
            reports.append(as_one(said))
        return MeshReport(overall([report.state for report in reports]), checked_at, tuple(reports))

    def _said(self, name: str, worker: int, answer: Future[ComponentReport], at: datetime) -> ComponentReport:
        try:
            report = replace(answer.result(), component=name)
        except NoAnswerError as error:
            report = _unavailable(name, self._last.get((name, worker)), str(error), at)
        self._last[name, worker] = report
        return report


def _unavailable(name: str, last: ComponentReport | None, reason: str, at: datetime) -> ComponentReport:
    """Keeps what is known of a process that does not answer, and since when it does not."""
    if last is None:
        return ComponentReport(name, "", Health.UNAVAILABLE, reason, None, at)
    since = last.since if _did_not_answer(last) else at
    return replace(last, state=Health.UNAVAILABLE, reason=reason, since=since, dependencies=())


def _did_not_answer(report: ComponentReport) -> bool:
    return report.state is Health.UNAVAILABLE and not report.dependencies
