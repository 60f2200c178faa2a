"""Answers kept for 24 hours, so that a repeated request gets the first answer instead of a second effect.

A claim is committed in the transaction that has the request's effect, and the answer a moment later (ADR 38). So a claim without an answer
says that the effect is there: a repeat waits for the answer. The claim is a lease that its owner renews until then: after a crash the next
repeat takes over once the lease has run out, and learns the id of the effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    select,
    tuple_,
    update,
)

from servers.runtime.outcomes import OutcomeWriter, Rows
from sql_engine import Companion, ExactString, Insertion, UtcDateTime, accompanied, begin_write, write

_KEPT = timedelta(hours=24)
_LEASE = timedelta(seconds=5)
RENEW_INTERVAL_S = 1.5
"""Pause between two renewals of the leases of requests that run, in seconds."""

_PURGE_BATCH = 1000
_NOBODY = ""
"""Owner of a claim that was given back."""

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
    Column("effect_id", ExactString(36)),
)

_COMPLETE = (
    update(replays)
    .where(
        replays.c.subject == bindparam("of_subject"),
        replays.c.method == bindparam("of_method"),
        replays.c.request_id == bindparam("of_request_id"),
        replays.c.owner == bindparam("of_owner"),
    )
    .values(response=bindparam("response"))
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


class ReplayState(Enum):
    """What is known of a request."""

    FREE = auto()
    """Nobody has done it, or whoever did has died since: do it."""
    RUNNING = auto()
    """Its effect is there; its answer is about to be."""
    DONE = auto()
    """It has been done; the answer is at hand."""
    OTHER_REQUEST = auto()
    """The id belongs to a request with another content."""


@dataclass(frozen=True)
class Replay:
    """What was found.

    Args:
        state: What is known.
        response: The first answer, serialized, where the state is DONE.
        effect_id: The id of what has been made, where the state is FREE and somebody died who had made it; else empty.
    """

    state: ReplayState
    response: bytes = b""
    effect_id: str = ""


class AlreadyClaimed(Exception):
    """Somebody else has the request; raised in the middle of work, to undo it."""


class ReplayStore:
    """Claims and answers in the component's database.

    Args:
        engine: The database.
        owner: Unique name of this server's life: after a restart it is another.
        outcomes: Writes answers.
        clock: The time now.
    """

    def __init__(
        self, engine: Engine, owner: str, outcomes: OutcomeWriter, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._outcomes = outcomes
        self._insertion = Insertion(replays, engine.dialect, if_absent=True)
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[ReplayKey] = set()

    @contextmanager
    def claiming(self, key: ReplayKey, request_hash: str, effect_id: str) -> Iterator[Companion]:
        """Has a request claimed by the first transaction that the block writes; see `claim`."""
        is_mine = False

        def write_claim(connection: Connection) -> None:
            nonlocal is_mine
            self.claim(connection, key, request_hash, effect_id)
            is_mine = True

        with accompanied(self._engine, write_claim) as claim:
            try:
                yield claim
            finally:
                if is_mine and not claim.is_written:
                    self._forget(key)

    def claim(self, connection: Connection, key: ReplayKey, request_hash: str, effect_id: str) -> None:
        """Claims a request in the transaction that has its effect. Of several who try at once, one gets it; the others wait for it.

        Args:
            connection: Within the transaction.
            key: Which request.
            request_hash: Hash of its content.
            effect_id: The id of what is made.

        Raises:
            AlreadyClaimed: Somebody has it, or has made something by another id; `find` tells more.
        """
        now = self._clock()
        mine = {
            **{"request_hash": request_hash, "owner": self._owner, "lease_time": now + _LEASE, "create_time": now},
            **{"response": None, "effect_id": effect_id},
        }
        if not self._insertion.run(connection, [{**vars(key), **mine}]):
            row = connection.execute(select(replays).where(_at(key)).with_for_update()).one_or_none()
            found = _state(row, request_hash, now)
            if row is None or found.state is not ReplayState.FREE or found.effect_id not in ("", effect_id):
                raise AlreadyClaimed
            connection.execute(update(replays).where(_at(key)).values(**mine))
        with self._lock:
            self._running.add(key)

    def find(self, key: ReplayKey, request_hash: str) -> Replay:
        """Finds out what is known of a request.

        Args:
            key: Which request.
            request_hash: Hash of its content.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(replays).where(_at(key))).one_or_none()
        return _state(row, request_hash, self._clock())

    def complete(self, key: ReplayKey, response: bytes) -> None:
        """Keeps the answer of a claimed request, a moment later. Changes nothing where somebody took the request over."""
        self._forget(key)
        self._outcomes.add(_complete, {**_names(key), "of_owner": self._owner, "response": response})

    def keep(self, key: ReplayKey, request_hash: str, response: bytes) -> None:
        """Keeps the answer of a request that changed nothing in the database, so that nobody has claimed it. The first answer stays."""
        now = self._clock()
        row = {
            **{"request_hash": request_hash, "owner": self._owner, "lease_time": now, "create_time": now},
            **{"response": response, "effect_id": None},
        }
        left = and_(_at(key), replays.c.request_hash == request_hash, replays.c.lease_time <= now, replays.c.response.is_(None))

        def apply(connection: Connection) -> None:
            if not self._insertion.run(connection, [{**vars(key), **row}]):
                # Somebody died before he had answered.
                connection.execute(update(replays).where(left).values(response=response))

        write(self._engine, apply)

    def abandon(self, key: ReplayKey) -> None:
        """Gives a claim back after a failure, so that a repeat may try again, also with another content.

        For a repeat with the same one, what has been made stays known by its id.
        """
        self._forget(key)
        mine = and_(_at(key), replays.c.owner == self._owner, replays.c.response.is_(None))
        with begin_write(self._engine) as connection:
            connection.execute(update(replays).where(mine).values(lease_time=self._clock(), owner=_NOBODY))

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
        is_old = replays.c.create_time < self._clock() - _KEPT
        with begin_write(self._engine) as connection:
            old = select(replays.c.subject, replays.c.method, replays.c.request_id).where(is_old)
            keys = [tuple(row) for row in connection.execute(old.limit(_PURGE_BATCH))]
            if not keys:
                return 0
            # One of them may have been claimed anew since.
            found = tuple_(replays.c.subject, replays.c.method, replays.c.request_id).in_(keys)
            return connection.execute(delete(replays).where(is_old, found)).rowcount

    def _forget(self, key: ReplayKey) -> None:
        with self._lock:
            self._running.discard(key)


def _state(row: Row[Any] | None, request_hash: str, now: datetime) -> Replay:
    if row is None or row.create_time < now - _KEPT:
        return Replay(ReplayState.FREE)
    if row.request_hash != request_hash:
        return Replay(ReplayState.FREE if row.owner == _NOBODY and row.response is None else ReplayState.OTHER_REQUEST)
    if row.response is not None:
        return Replay(ReplayState.DONE, bytes(row.response))
    return Replay(ReplayState.RUNNING) if row.lease_time > now else Replay(ReplayState.FREE, effect_id=row.effect_id or "")


def _complete(connection: Connection, rows: Rows) -> None:
    connection.execute(_COMPLETE, list(rows))


def _names(key: ReplayKey) -> dict[str, str]:
    return {"of_subject": key.subject, "of_method": key.method, "of_request_id": key.request_id}


def _at(key: ReplayKey) -> ColumnElement[bool]:
    return and_(replays.c.subject == key.subject, replays.c.method == key.method, replays.c.request_id == key.request_id)
