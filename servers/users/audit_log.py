"""The audit log: a chain of hashes, and checkpoints that make a missing end visible.

Each event's hash covers the event and the hash before it, so nothing can be changed, inserted or taken out of the middle unseen. A chain
alone does not show that its end is gone: for that, checkpoints are kept where whoever can write the database cannot (ADR 0014).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC

from sqlalchemy import Connection, Engine

from servers.runtime.auth import Principal
from servers.runtime.paging import Listing
from servers.users.store import audit_rows
from servers.users.store.audit_rows import Entry, Event
from sql_engine import write

GENESIS = "0" * 64
"""Hash before the first event."""

_VERIFY_BATCH = 2000


@dataclass(frozen=True)
class Checkpoint:
    """The end of the log at one moment.

    Args:
        sequence: Sequence of the last event, 0 for an empty log.
        hash: Its hash; empty for an empty log.
    """

    sequence: int
    hash: str


@dataclass(frozen=True)
class Verdict:
    """What a verification found.

    Args:
        is_intact: Whether every hash is right and every checkpoint is contained.
        event_count: Events checked.
        first_bad_sequence: First event that is wrong or missing; 0 where none is.
        checkpoint: The end of the log now.
    """

    is_intact: bool
    event_count: int
    first_bad_sequence: int
    checkpoint: Checkpoint


def event_hash(previous: str, sequence: int, event: Event) -> str:
    """The hash of an event: SHA-256 over the hash before it, its position, and its fields as canonical JSON.

    Args:
        previous: Hash of the event before, or `GENESIS`.
        sequence: Its position.
        event: The event.

    Returns:
        64 hexadecimal digits.
    """
    fields = [
        previous,
        sequence,
        event.id,
        event.event_time.astimezone(UTC).isoformat(timespec="microseconds"),
        event.subject,
        event.method,
        event.project,
        event.resource,
        event.status_code,
        event.reason,
        event.trace_id,
    ]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")).hexdigest()


def chained(entries: Iterable[Entry], previous: str = GENESIS, position: int = 0) -> Iterator[tuple[Entry, bool]]:
    """Goes along the chain.

    Args:
        entries: Stored events in order.
        previous: Hash before the first of them.
        position: Sequence before the first of them.

    Yields:
        Each entry with whether its position and hash follow from the one before.
    """
    for entry in entries:
        position += 1
        yield entry, entry.sequence == position and entry.hash == event_hash(previous, entry.sequence, entry.event)
        previous = entry.hash


class AuditLog:
    """The audit log of one mesh.

    Args:
        engine: Where it is kept.
        known_checkpoints: Gives the checkpoints kept outside of the database.
    """

    def __init__(self, engine: Engine, known_checkpoints: Callable[[], Iterable[Checkpoint]] = tuple) -> None:
        self._engine = engine
        self._known_checkpoints = known_checkpoints

    def append(self, events: Iterable[Event]) -> None:
        """Adds events in order, in one transaction. One whose id is known is left out."""
        batch = list({event.id: event for event in events}.values())

        def apply(connection: Connection) -> None:
            end = audit_rows.lock_end(connection)
            sequence, previous = (end.sequence, end.hash) if end is not None else (0, GENESIS)
            known = audit_rows.known_ids(connection, [event.id for event in batch])
            entries = []
            for event in batch:
                if event.id in known:
                    continue
                sequence += 1
                previous = event_hash(previous, sequence, event)
                entries.append(Entry(sequence, event, previous))
            audit_rows.insert_entries(connection, entries)
            audit_rows.forget_begun(connection, [event.id for event in batch])

        if batch:
            write(self._engine, apply)

    def page(self, caller: Principal, listing: Listing) -> tuple[list[Entry], str]:
        """Reads one page of the events in projects where the caller may, and the token of the next."""
        with self._engine.connect() as connection:
            return audit_rows.list_entries(connection, listing, caller.projects("users.audit.read"))

    def end(self) -> Checkpoint:
        """The end of the log now."""
        with self._engine.connect() as connection:
            return _checkpoint(audit_rows.last_entry(connection))

    def verify(self, checkpoint: Checkpoint | None = None) -> Verdict:
        """Recomputes the chain.

        Args:
            checkpoint: One that the caller kept; None = only those that the server kept.

        Returns:
            Whether the log is whole, and where it is not.
        """
        wanted = {kept.sequence: kept.hash for kept in self._known_checkpoints() if kept.sequence}
        # A caller's checkpoint that contradicts ours stands for itself.
        contradicting = 0
        if checkpoint is not None and checkpoint.sequence and wanted.setdefault(checkpoint.sequence, checkpoint.hash) != checkpoint.hash:
            contradicting = checkpoint.sequence
        count, first_bad, last = 0, contradicting, None
        for entry, follows in self._walk():
            count += 1
            last = entry
            is_as_kept = wanted.pop(entry.sequence, entry.hash) == entry.hash
            if not (follows and is_as_kept) and (not first_bad or entry.sequence < first_bad):
                first_bad = entry.sequence
        if wanted and not first_bad:
            first_bad = (last.sequence if last is not None else 0) + 1
        return Verdict(not first_bad, count, first_bad, _checkpoint(last))

    def _walk(self) -> Iterator[tuple[Entry, bool]]:
        # Batches in transactions of their own: a long read would keep the write-ahead log of SQLite from being cut.
        position, previous = 0, GENESIS
        while True:
            with self._engine.connect() as connection:
                batch = audit_rows.entries_after(connection, position, _VERIFY_BATCH)
            if not batch:
                return
            yield from chained(batch, previous, position)
            position, previous = batch[-1].sequence, batch[-1].hash


def _checkpoint(entry: Entry | None) -> Checkpoint:
    return Checkpoint(0, "") if entry is None else Checkpoint(entry.sequence, entry.hash)
