"""Audit events on their way: kept in the component's database until the users server has them.

An event is written before the work or in the transaction that does it, and finished after it: a crash in between leaves a trace too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, bindparam, delete, or_, select, update

from servers.runtime.audit_events import AuditEvent, AuditSink
from servers.runtime.outcomes import OutcomeWriter, Rows
from sql_engine import Companion, ExactString, Insertion, UtcDateTime, accompanied, begin_write

__all__ = ["AuditEvent", "AuditOutbox", "AuditShipper", "AuditSink", "OutboxAuditSink"]

_LOGGER = logging.getLogger(__name__)
_UNFINISHED_AFTER = timedelta(minutes=15)
_BATCH = 500
_STATUS_UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]


events = Table(
    "runtime_audit_events",
    MetaData(),
    Column("event_id", ExactString(36), primary_key=True),
    Column("event_time", UtcDateTime),
    Column("subject", ExactString(255)),
    Column("method", ExactString(255)),
    Column("project", ExactString(63)),
    Column("resource", ExactString(512)),
    Column("status_code", Integer),
    Column("reason", ExactString(63)),
    Column("request_id", ExactString(128)),
    Column("trace_id", ExactString(32)),
)

_COMPLETE = (
    update(events)
    .where(events.c.event_id == bindparam("id_begun"))
    .values({name: bindparam(name) for name in ("project", "resource", "status_code", "reason")})
)


class AuditOutbox:
    """Events in the component's database, from where a shipper takes them.

    Args:
        engine: The database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insertion = Insertion(events, engine.dialect)

    def begin(self, event: AuditEvent) -> None:
        """Writes the event of a call that begins."""
        with begin_write(self._engine) as connection:
            self._add(connection, event)

    def begin_with_effect(self, event: AuditEvent) -> AbstractContextManager[Companion]:
        """Writes the event in the first transaction of the block."""
        return accompanied(self._engine, lambda connection: self._add(connection, event))

    def _add(self, connection: Connection, event: AuditEvent) -> None:
        self._insertion.run(connection, [_row(event)])


class OutboxAuditSink(AuditOutbox):
    """Keeps events until they are shipped.

    Args:
        engine: The component's database.
        outcomes: Writes how calls ended.
    """

    def __init__(self, engine: Engine, outcomes: OutcomeWriter) -> None:
        super().__init__(engine)
        self._outcomes = outcomes

    def finish(self, event: AuditEvent, *, is_begun: bool) -> None:
        """Completes the event. A failure is logged: the call has had its effect, and where it changed anything its beginning is there."""
        if is_begun:
            self._outcomes.add(_complete, {"id_begun": event.event_id, **_row(event)})
            return
        try:
            self.begin(event)
        except Exception:
            _LOGGER.exception("the outcome of audit event %s is not recorded", event.event_id)


def _complete(connection: Connection, rows: Rows) -> None:
    connection.execute(_COMPLETE, list(rows))


class AuditShipper:
    """Sends kept events to the users server, oldest first, and deletes them once it has them.

    The users server stores an event of a known id once, so a batch whose answer was lost is simply sent again.

    Args:
        engine: The database of the outbox.
        append: Sends events; raises `grpc.RpcError` where they did not arrive.
        clock: The time now.
    """

    def __init__(
        self, engine: Engine, append: Callable[[Sequence[AuditEvent]], None], clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._append = append
        self._clock = clock
        self._is_reachable = True

    def ship(self) -> int:
        """Sends everything that is finished, and what was begun 15 minutes ago and never was.

        Returns:
            How many events arrived.
        """
        shipped = 0
        while batch := self._batch():
            sent = self._sent(batch)
            shipped += sent
            if sent < len(batch):
                break
        return shipped

    def _batch(self) -> list[AuditEvent]:
        ready = or_(events.c.status_code.is_not(None), events.c.event_time < self._clock() - _UNFINISHED_AFTER)
        with self._engine.connect() as connection:
            rows = connection.execute(select(events).where(ready).order_by(events.c.event_time).limit(_BATCH))
            return [_outcome_known(AuditEvent(**row)) for row in rows.mappings()]

    def _sent(self, batch: Sequence[AuditEvent]) -> int:
        try:
            self._append(batch)
        except grpc.RpcError as error:
            if not _is_refused(error):
                self._note_failure(error)
                return 0
            if len(batch) > 1:
                # One of them is refused; alone, each of the others arrives.
                return sum(self._sent([event]) for event in batch)
            # Kept for ever it would hold up all that come after it. The log is then the only place that has it.
            _LOGGER.exception("the users server refuses audit event %s", batch[0])
        else:
            self._is_reachable = True
        self._delete(batch)
        return len(batch)

    def _delete(self, batch: Sequence[AuditEvent]) -> None:
        with begin_write(self._engine) as connection:
            connection.execute(delete(events).where(events.c.event_id.in_([event.event_id for event in batch])))

    def _note_failure(self, error: grpc.RpcError) -> None:
        if self._is_reachable:
            _LOGGER.warning("audit events wait, the users server does not take them: %s", error)
        self._is_reachable = False


def _is_refused(error: grpc.RpcError) -> bool:
    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.INVALID_ARGUMENT


def _outcome_known(event: AuditEvent) -> AuditEvent:
    if event.status_code is not None:
        return event
    return replace(event, status_code=_STATUS_UNKNOWN, reason="OUTCOME_UNKNOWN")


def _row(event: AuditEvent) -> dict[str, object]:
    """The event as the contract's limits allow it."""
    limits = {"subject": 255, "method": 255, "project": 63, "resource": 512, "reason": 63, "request_id": 128, "trace_id": 32}
    row = dict(vars(event))
    return row | {name: str(row[name])[:limit] for name, limit in limits.items()}
