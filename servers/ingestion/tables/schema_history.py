"""Which schemas a table has had.

Entries of the log say it: one in which the schema may have changed has the table's metadata, also that of a rollback. They are read
from the newest on, many at a time, and most are not even parsed. Checkpoints would be fewer, but a schema that came and went between two
of them is in none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.fs
from deltalake import Schema

from servers.ingestion.tables.column_types import common_type
from servers.ingestion.tables.contract import ChangeKind, SchemaChange
from servers.ingestion.tables.delta_log import TableLocation, log_entry, plain_schema, producer_of, renamed_by, table_files

_READERS = 16
_SLICE = 128


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A schema that a table has had."""

    version: int
    """The first that has it."""
    time: datetime
    """When that was committed, UTC, to the millisecond."""
    schema: pa.Schema
    changes: tuple[SchemaChange, ...]
    """Against the schema before; none where that is not known any more."""
    producer: str
    """Whose delivery changed it, or was about to; empty where none did."""


def schemas(location: TableLocation, limit: int, before: int | None) -> list[TableSchema]:
    """Lists schemas, newest first; see `DatasetTable.schemas`."""
    latest = location.open().version()
    first = latest if before is None else min(before - 1, latest)
    found: list[TableSchema] = []
    with location.typed_errors():
        entries = _entries(table_files(location), first)
        newer = next(entries, None)
        while newer is not None and len(found) < limit:
            older = next(entries, None)
            if older is None or older.schema != newer.schema:
                found.append(_told(newer, older))
            newer = older
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    schema: pa.Schema
    commit: Mapping[str, Any]


def _entries(files: pyarrow.fs.FileSystem, first: int) -> Iterator[_Entry]:
    """Reads entries that have metadata, from a version down to where the log begins."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader") as readers:
        for start in range(first, -1, -_SLICE):
            versions = range(start, max(-1, start - _SLICE), -1)
            for version, entry in zip(versions, readers.map(lambda version: _entry(files, version), versions), strict=True):
                if entry is None:
                    return
                yield from _parsed(version, entry)


def _entry(files: pyarrow.fs.FileSystem, version: int) -> bytes | None:
    """Reads an entry; empty where it has no metadata, and None where it is older than the table's log retention."""
    try:
        entry = log_entry(files, version)
    except FileNotFoundError:
        return None
    # An entry may have thousands of files, so only those that are needed wait for their turn.
    return entry if b'"metaData"' in entry else b""


def _parsed(version: int, entry: bytes) -> Iterator[_Entry]:
    actions = [json.loads(line) for line in entry.splitlines()]
    commit: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    for action in actions:
        if "metaData" in action:
            yield _Entry(version, plain_schema(Schema.from_json(action["metaData"]["schemaString"])), commit)


def _told(newer: _Entry, older: _Entry | None) -> TableSchema:
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(newer.commit.get("timestamp", 0)))
    if older is not None:
        changes = tuple(_changes(older.schema, newer.schema, renamed_by(newer.commit)))
    elif newer.version == 0:
        added = (SchemaChange(ChangeKind.COLUMN_ADDED, field.name, to_type=str(field.type)) for field in newer.schema)
        changes = (SchemaChange(ChangeKind.TABLE_CREATED), *added)
    else:
        changes = ()
    return TableSchema(newer.version, time, newer.schema, changes, producer_of(newer.commit))


def _changes(older: pa.Schema, newer: pa.Schema, renamed: Mapping[str, str]) -> Iterator[SchemaChange]:
    names = {old: new for old, new in renamed.items() if old in older.names and new in newer.names}
    new_names = set(names.values())
    # A column that has gone may have left its name to another one.
    kept = [name for name in older.names if name not in names and name in newer.names and name not in new_names]
    for field in older:
        if field.name in names:
            yield SchemaChange(ChangeKind.COLUMN_RENAMED, field.name, new_name=names[field.name])
        elif field.name not in kept:
            yield SchemaChange(ChangeKind.COLUMN_DROPPED, field.name, str(field.type))
    for name in kept:
        old, new = older.field(name).type, newer.field(name).type
        if old != new:
            kind = ChangeKind.TYPE_WIDENED if common_type(old, new) == new else ChangeKind.TYPE_CHANGED
            yield SchemaChange(kind, name, str(old), str(new))
    for field in newer:
        if field.name not in kept and field.name not in new_names:
            yield SchemaChange(ChangeKind.COLUMN_ADDED, field.name, to_type=str(field.type))
    if sorted(older.names) == sorted(newer.names) and not names and older.names != newer.names:
        yield SchemaChange(ChangeKind.COLUMNS_REORDERED)
