"""Writers of one process take turns on SQLite, all with one connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event

__all__ = ["BUSY_TIMEOUT_MS", "SqliteWriter"]

BUSY_TIMEOUT_MS = 30_000
"""How long a writer of SQLite waits for the one before it, in milliseconds."""


class SqliteWriter:
    """The connection that writes.

    Who waits for it is woken at once, where SQLite would sleep and look again. That it is the same one each time saves what the pool does
    for each (60 of 205 microseconds of processor time of a transaction with one row), and the pages that it has read are still there.

    Args:
        engine: Of SQLite; when it is disposed of, the connection is closed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._connection: Connection | None = None
        event.listen(engine, "engine_disposed", self._close)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Gives the connection to the block, without a transaction; one that begins takes the write lock at once."""
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            # Goes on without a turn, and hears from SQLite that the database is locked.
            with self._engine.connect() as another:
                yield _writing(another)
            return
        try:
            if self._connection is None:
                self._connection = _writing(self._engine.connect())
            yield self._connection
        finally:
            if self._connection is not None and (self._connection.in_transaction() or self._connection.invalidated):
                self._connection.close()
                self._connection = None
            self._turn.release()

    def _close(self, _engine: Engine) -> None:
        with self._turn:
            if self._connection is not None:
                # The pool that it came from is gone, and would keep it open.
                self._connection.detach()
                self._connection.close()
                self._connection = None


def _writing(connection: Connection) -> Connection:
    return connection.execution_options(sqlite_begin="IMMEDIATE")
