"""Answers kept for 24 hours, so that a repeated request gets the first answer instead of a second effect.

A row is claimed before the work and completed after it. The claim is a lease that its owner renews while it works: after a crash the next
repeat takes over once the lease has run out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from sqlalchemy import Column, ColumnElement, Connection, Engine, LargeBinary, MetaData, Table, and_, delete, insert, select, tuple_, update

from sql_engine import ExactString, UtcDateTime, begin_write, write

_KEPT = timedelta(hours=24)
_LEASE = timedelta(seconds=15)
RENEW_INTERVAL_S = 5.0
"""Pause between two renewals of the leases of requests that run, in seconds."""

_PURGE_BATCH = 1000

replays = Table(
    "runtime_replays",
    MetaData(),
    Column("subject", ExactString(255), primary_key=True),
    Column("method", ExactString(255), primary_key=True),
    Column("request_id", ExactString(64), primary_key=True),
    Column("request_hash", ExactString(64)),
    Column("owner", ExactString(36)),
    Column("lease_time", UtcDateTime),
    Column("create_time", UtcDateTime),
    Column("response", LargeBinary),
)


@dataclass(frozen=True)
class ReplayKey:
    """What makes two requests the same.

    Args:
        subject: The caller.
        method: Full name of the method.
        request_id: The request's own id.
    """

    subject: str
    method: str
    request_id: str


class ClaimState(Enum):
    """What a claim found."""

    CLAIMED = auto()
    """Nobody has done it: do it, then complete or abandon."""
    RUNNING = auto()
    """Somebody is doing it."""
    DONE = auto()
    """It has been done; the answer is at hand."""
    OTHER_REQUEST = auto()
    """The id belongs to a request with another content."""


@dataclass(frozen=True)
class Claim:
    """The outcome of a claim.

    Args:
        state: What was found.
        response: The first answer, serialized, where the state is DONE.
    """

    state: ClaimState
    response: bytes = b""


class ReplayStore:
    """Claims and answers in the component's database.

    Args:
        engine: The database.
        owner: Unique name of this server's life: after a restart it is another.
        clock: The time now.
    """

    def __init__(self, engine: Engine, owner: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._owner = owner
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[ReplayKey] = set()

    def claim(self, key: ReplayKey, request_hash: str) -> Claim:
        """Claims the right to do a request.

        Args:
            key: Which request.
            request_hash: Hash of its content.

        Returns:
            Whether to do it, or what to answer instead.
        """
        claim = write(self._engine, lambda connection: self._claim(connection, key, request_hash))
        if claim.state is ClaimState.CLAIMED:
            with self._lock:
                self._running.add(key)
        return claim

    def complete(self, key: ReplayKey, response: bytes) -> None:
        """Keeps the answer of a claimed request. Changes nothing where somebody took the request over."""
        self._forget(key)
        with begin_write(self._engine) as connection:
            connection.execute(update(replays).where(_at(key), replays.c.owner == self._owner).values(response=response))

    def abandon(self, key: ReplayKey) -> None:
        """Gives a claim back after a failure, so that a repeat may try again."""
        self._forget(key)
        with begin_write(self._engine) as connection:
            connection.execute(delete(replays).where(_at(key), replays.c.owner == self._owner, replays.c.response.is_(None)))

    def renew(self) -> None:
        """Prolongs the leases of all requests that run here."""
        with self._lock:
            running = list(self._running)
        if not running:
            return
        keys = [(key.subject, key.method, key.request_id) for key in running]
        mine = and_(replays.c.owner == self._owner, tuple_(replays.c.subject, replays.c.method, replays.c.request_id).in_(keys))
        with begin_write(self._engine) as connection:
            connection.execute(update(replays).where(mine).values(lease_time=self._clock() + _LEASE))

    def purge(self) -> int:
        """Deletes answers older than 24 hours, at most 1,000 at a time.

        Returns:
            How many were deleted.
        """
        with begin_write(self._engine) as connection:
            old = select(replays.c.subject, replays.c.method, replays.c.request_id).where(replays.c.create_time < self._clock() - _KEPT)
            keys = [tuple(row) for row in connection.execute(old.limit(_PURGE_BATCH))]
            if keys:
                connection.execute(delete(replays).where(tuple_(replays.c.subject, replays.c.method, replays.c.request_id).in_(keys)))
        return len(keys)

    def _claim(self, connection: Connection, key: ReplayKey, request_hash: str) -> Claim:
        now = self._clock()
        row = connection.execute(select(replays).where(_at(key)).with_for_update()).one_or_none()
        mine = {"request_hash": request_hash, "owner": self._owner, "lease_time": now + _LEASE, "create_time": now, "response": None}
        if row is None:
            # Two at once: one of them fails on the primary key, and `write` runs it again.
            connection.execute(
                insert(replays).values(subject=key.subject, method=key.method, request_id=key.request_id, **mine),
            )
            return Claim(ClaimState.CLAIMED)
        is_old = row.create_time < now - _KEPT
        if not is_old and row.request_hash != request_hash:
            return Claim(ClaimState.OTHER_REQUEST)
        if not is_old and row.response is not None:
            return Claim(ClaimState.DONE, bytes(row.response))
        if row.response is None and row.lease_time > now:
            return Claim(ClaimState.RUNNING)
        connection.execute(update(replays).where(_at(key)).values(**mine))
        return Claim(ClaimState.CLAIMED)

    def _forget(self, key: ReplayKey) -> None:
        with self._lock:
            self._running.discard(key)


def _at(key: ReplayKey) -> ColumnElement[bool]:
    return and_(replays.c.subject == key.subject, replays.c.method == key.method, replays.c.request_id == key.request_id)
