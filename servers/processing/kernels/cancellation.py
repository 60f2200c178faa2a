"""Stopping work from another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from servers.processing.kernels.errors import Cancelled

_REPEATED_AFTER_S = 0.02


class Cancellation:
    """Cancels one run, from any thread, at any time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._running: list[duckdb.DuckDBPyConnection] = []
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Stops what runs and lets nothing more begin; returns when DuckDB has stopped computing."""
        with self._condition:
            self._is_cancelled = True
            while self._running:
                for connection in self._running:
                    connection.interrupt()
                # Again, since an interrupt that comes before the query has begun is forgotten.
                self._condition.wait(_REPEATED_AFTER_S)

    def check(self) -> None:
        """Raises if somebody cancelled.

        Raises:
            Cancelled: ABORTED.
        """
        if self._is_cancelled:
            raise Cancelled("the run was cancelled; nothing of it is kept")

    @contextmanager
    def computing(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Marks the time in which a connection computes and may be interrupted."""
        with self._condition:
            self.check()
            self._running.append(connection)
        try:
            yield
        finally:
            with self._condition:
                self._running.remove(connection)
                self._condition.notify_all()
