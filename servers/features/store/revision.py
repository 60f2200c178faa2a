"""A number that changes whenever a definition does, or the place of its vectors: what is derived of them is kept as long as it stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, select, update

from servers.features.store.tables import revision
from sql_engine import after_commit

_ROW = 1


class Revision:
    """The revision of all definitions.

    Args:
        engine: The component's database, from `open_store`.
        monotonic: A clock that only goes forward, in seconds.
    """

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known = 0
        self._read_at = float("-inf")
        self._forgotten = 0

    def current(self, max_age_s: float = 1.0) -> int:
        """Returns the revision.

        Args:
            max_age_s: How old it may be, in seconds: for so long a change made in another process is not noticed.
        """
        now = self._monotonic()
        with self._lock:
            if now - self._read_at < max_age_s:
                return self._known
            forgotten = self._forgotten
        with self._engine.connect() as connection:
            found = int(connection.execute(select(revision.c.revision).where(revision.c.id == _ROW)).scalar_one())
        with self._lock:
            # Who forgot meanwhile knows of a change that this read may not have seen.
            if forgotten == self._forgotten:
                self._known, self._read_at = found, now
        return found

    def bump(self, connection: Connection) -> None:
        """Counts a change, in the transaction that makes it, of `sql_engine`. Those of all processes come one by one from here on."""
        connection.execute(update(revision).where(revision.c.id == _ROW).values(revision=revision.c.revision + 1))
        after_commit(connection, self._forget)

    def _forget(self) -> None:
        """Has the next `current` read anew."""
        with self._lock:
            self._forgotten += 1
            self._read_at = float("-inf")
