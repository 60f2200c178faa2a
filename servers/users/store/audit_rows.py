"""The rows of the audit log."""

from __future__ import annotations

from collections.abc import Collection as Names
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, insert, select

from aip_filter import Field, Schema
from servers.runtime.audit import events as outbox
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.users.store.tables import AUDIT_LOCK, audit_events, locks


@dataclass(frozen=True)
class Event:
    """One call that changed something, or tried to.

    Args:
        id: UUID made where the call was served.
        event_time: When the call was served, to the microsecond.
        subject: Identifier of the caller; empty where nobody was logged in.
        method: Full name of the method.
        project: Project of the call.
        resource: What was changed.
        status_code: gRPC status code of the answer.
        reason: Reason of the error; empty where there was none.
        trace_id: Trace of the call.
    """

    id: str
    event_time: datetime
    subject: str
    method: str
    project: str
    resource: str
    status_code: int
    reason: str
    trace_id: str


@dataclass(frozen=True)
class Entry:
    """An event in its place.

    Args:
        sequence: Position, from 1, without gaps.
        event: The event.
        hash: Hash over it and the one before, 64 hexadecimal digits.
    """

    sequence: int
    event: Event
    hash: str


def lock_end(connection: Connection) -> Entry | None:
    """Reads the last entry, after which no other transaction adds one until this one ends."""
    connection.execute(select(locks.c.name).where(locks.c.name == AUDIT_LOCK).with_for_update())
    return last_entry(connection)


def last_entry(connection: Connection) -> Entry | None:
    """Reads the last entry."""
    row = connection.execute(select(audit_events).order_by(audit_events.c.sequence.desc()).limit(1)).mappings().first()
    return None if row is None else _entry(row)


def known_ids(connection: Connection, ids: Names[str]) -> frozenset[str]:
    """Which of some event ids are in the log."""
    return frozenset(connection.execute(select(audit_events.c.id).where(audit_events.c.id.in_(ids))).scalars())


def insert_entries(connection: Connection, entries: Names[Entry]) -> None:
    """Adds entries."""
    if entries:
        connection.execute(
            insert(audit_events), [{"sequence": entry.sequence, "hash": entry.hash, **asdict(entry.event)} for entry in entries]
        )


def forget_begun(connection: Connection, ids: Names[str]) -> None:
    """Deletes what the outbox has of events that are in the log now."""
    connection.execute(delete(outbox).where(outbox.c.event_id.in_(ids)))


def entries_after(connection: Connection, sequence: int, limit: int) -> list[Entry]:
    """Reads entries behind a position, in order."""
    query = select(audit_events).where(audit_events.c.sequence > sequence).order_by(audit_events.c.sequence).limit(limit)
    return [_entry(row) for row in connection.execute(query).mappings()]


def list_entries(connection: Connection, listing: Listing, projects: Names[str] | None) -> tuple[list[Entry], str]:
    """Reads one page of entries, of some projects or, with None, of all."""
    if projects is None:
        return read_page(connection, _EVENTS, listing)
    names = sorted(projects)
    return read_page(connection, _EVENTS, listing, audit_events.c.project.in_(names), scope=",".join(names))


def _entry(row: RowMapping) -> Entry:
    event = Event(
        id=row["id"],
        event_time=row["event_time"],
        subject=row["subject"],
        method=row["method"],
        project=row["project"],
        resource=row["resource"],
        status_code=row["status_code"],
        reason=row["reason"],
        trace_id=row["trace_id"],
    )
    return Entry(row["sequence"], event, row["hash"])


_EVENTS = Collection(
    name="audit_events",
    source=audit_events,
    columns=tuple(audit_events.c),
    schema=Schema(
        {
            "subject": Field("string", audit_events.c.subject),
            "method": Field("string", audit_events.c.method),
            "project": Field("string", audit_events.c.project),
            "resource": Field("string", audit_events.c.resource),
            "status_code": Field("int", audit_events.c.status_code),
            "reason": Field("string", audit_events.c.reason),
            "event_time": Field("timestamp", audit_events.c.event_time),
            "sequence": Field("int", audit_events.c.sequence),
        }
    ),
    order_fields={"sequence": audit_events.c.sequence, "event_time": audit_events.c.event_time},
    default_order="sequence desc",
    tie_breaker=audit_events.c.sequence,
    read=_entry,
)
