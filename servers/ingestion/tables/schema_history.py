"""Which schemas a table has had.

Entries of the log say it: one in which the schema may have changed has the table's metadata, also that of a rollback, or says what it
renamed. They are read from the newest on, many at a time, and most are not even parsed. Checkpoints would be fewer, but a schema that came
and went between two of them is in none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pyarrow as pa
import pyarrow.fs
from deltalake import Schema

from servers.ingestion.tables.column_types import common_type
from servers.ingestion.tables.contract import ChangeKind, SchemaChange
from servers.ingestion.tables.delta_log import (
    COLUMN_MARKS,
    TableLocation,
    log_entry,
    plain_schema,
    producer_of,
    renamed_by,
    schema_of,
    table_files,
)

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
        entries = _entries(location, first)
        newer = next(entries, None)
        while newer is not None and len(found) < limit:
            older = next(entries, None)
            if older is None or older.schema != newer.schema or renamed_by(newer.commit):
                found.append(_told(newer, older))
            newer = older
    return found


def changed_columns(location: TableLocation, last: int, seen: int) -> dict[str, str]:
    """Says which columns do not mean any more what they meant.

    Args:
        location: Of the table.
        last: The last version that may have changed columns.
        seen: An earlier version.

    Returns:
        By the names of columns that are there or were, what became of them, as a clause.
    """
    found: dict[str, str] = {}
    with location.typed_errors():
        # Those after `seen`, the oldest first, so that the last change of a name counts.
        for entry in reversed(list(takewhile(lambda each: each.version > seen, _entries(location, last)))):
            # The entry that has the schema before may be far away.
            older = schema_of(location.open(entry.version - 1))
            for change in _changes(older, entry.schema, renamed_by(entry.commit)):
                match change.kind:
                    case ChangeKind.COLUMN_RENAMED:
                        found[change.column] = f"was renamed to {change.new_name[:100]!r}"
                    case ChangeKind.COLUMN_DROPPED:
                        found[change.column] = "was dropped"
                    case ChangeKind.TYPE_CHANGED:
                        found[change.column] = "became another column"
                    case ChangeKind.COLUMNS_REORDERED:
                        found |= dict.fromkeys(older.names, "may have become another column")
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    schema: pa.Schema
    commit: Mapping[str, Any]


def _entries(location: TableLocation, first: int) -> Iterator[_Entry]:
    """Reads entries in which columns may have changed, from a version down to where the log begins."""
    files = table_files(location)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader") as readers:
        for start in range(first, -1, -_SLICE):
            versions = range(start, max(-1, start - _SLICE), -1)
            for version, entry in zip(versions, readers.map(lambda version: _entry(files, version), versions), strict=True):
                if entry is None:
                    return
                yield from _parsed(location, version, entry)


def _entry(files: pyarrow.fs.FileSystem, version: int) -> bytes | None:
    """Reads an entry; empty where no columns can have changed, and None where it is older than the table's log retention."""
    try:
        entry = log_entry(files, version)
    except FileNotFoundError:
        return None
    # An entry may have thousands of files, so only those that are needed wait for their turn.
    return entry if any(mark in entry for mark in COLUMN_MARKS) else b""


def _parsed(location: TableLocation, version: int, entry: bytes) -> Iterator[_Entry]:
    actions = [json.loads(line) for line in entry.splitlines()]
    commit: dict[str, Any] = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    schemas = [plain_schema(Schema.from_json(action["metaData"]["schemaString"])) for action in actions if "metaData" in action]
    if not schemas and renamed_by(commit):
        schemas = [schema_of(location.open(version))]
    for schema in schemas:
        yield _Entry(version, schema, commit)


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
