"""How calls ended, written down in batches a moment after they did.

What a call has changed is committed before its caller hears of it, together with the note that the call began. How it ended may follow:
a crash in between loses no effect, and the note that stands there says that a call began whose end nobody knows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from servers.runtime.background import Repeated
from sql_engine import write

_LOGGER = logging.getLogger(__name__)
_INTERVAL_S = 0.1
"""Longest time that an outcome waits, in seconds. A repeat of its request waits as long for the answer."""

Rows = Sequence[Mapping[str, Any]]
Write = Callable[[Connection, Rows], object]
"""Writes outcomes of one kind, in the order in which they came. Runs again where the transaction does."""


class OutcomeWriter:
    """Writes outcomes, many to a transaction and those of a kind by one statement.

    Args:
        engine: The component's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: dict[Write, list[Mapping[str, Any]]] = {}
        self._repeated = Repeated("call-outcomes", self.flush, _INTERVAL_S)

    def start(self) -> None:
        """Starts writing in the background."""
        self._repeated.start()

    def add(self, write_rows: Write, row: Mapping[str, Any]) -> None:
        """Takes an outcome, to be written soon.

        Args:
            write_rows: Writes it together with others of its kind: those added with the same function.
            row: The outcome.
        """
        with self._lock:
            self._waiting.setdefault(write_rows, []).append(row)

    def flush(self) -> None:
        """Writes what waits. Where the database is away, it goes on waiting; what the database refuses stays unknown."""
        with self._lock:
            batch, self._waiting = self._waiting, {}
        if not batch:
            return

        def apply(connection: Connection) -> None:
            for write_rows, rows in batch.items():
                write_rows(connection, rows)

        try:
            write(self._engine, apply)
        except (OperationalError, InterfaceError):
            _LOGGER.exception("how calls ended is written later")
            self._wait_again(batch)
        except Exception:
            _LOGGER.exception("how %d calls ended is not recorded", sum(map(len, batch.values())))

    def close(self) -> None:
        """Stops the background work, and writes what still waits."""
        self._repeated.close()
        self.flush()

    def _wait_again(self, batch: Mapping[Write, list[Mapping[str, Any]]]) -> None:
        with self._lock:
            for write_rows, rows in batch.items():
                self._waiting[write_rows] = [*rows, *self._waiting.get(write_rows, [])]
