"""What is in a table, now and in the past."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from deltalake import DeltaTable

from servers.ingestion.table_errors import InvalidColumn, VersionExpired, VersionNotFound, named
from servers.ingestion.tables.contract import Delivery
from servers.ingestion.tables.delta_log import TableLocation, commit_info, delivery_of, is_vacant, schema_of

_SMALL_FILE_BYTES = 32 << 20
_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table at one version."""

    version: int
    time: datetime
    """When it was committed, UTC, to the millisecond."""
    schema: pa.Schema
    row_count: int
    size_bytes: int
    """Of its files, compressed."""
    file_count: int
    small_file_count: int
    """Files below 32 MiB, which `compact` joins."""


@dataclass(frozen=True, slots=True)
class TableVersion:
    """One commit."""

    version: int
    time: datetime
    """UTC, to the millisecond."""
    operation: str
    """As Delta calls it: CREATE TABLE, WRITE, MERGE, RESTORE, OPTIMIZE, VACUUM START, VACUUM END and others."""
    mode: str
    """Append or Overwrite for WRITE, else empty."""
    rows: int
    """Added or updated."""
    rows_updated: int
    delivery: Delivery | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a producer stands in a table."""

    schema: pa.Schema | None
    """Of the latest version; None where nothing was written yet."""
    version: int | None
    """The latest; None where there is no table."""
    last_sequence: int
    """Highest one of the producer that is written; 0 where there is none."""


def standing(location: TableLocation, producer: str) -> Standing:
    """Says where a producer stands; see `DatasetTable.standing`."""
    table = location.open_if_exists()
    if table is None:
        return Standing(None, None, 0)
    return Standing(None if is_vacant(table) else schema_of(table), table.version(), table.transaction_version(producer) or 0)


def snapshot(location: TableLocation, version: int | None, at: datetime | None) -> Snapshot:
    """Describes a version; see `DatasetTable.snapshot`."""
    table = location.open(version if at is None else _version_at(location, at))
    with location.typed_errors():
        files = pa.table(table.get_add_actions(flatten=True))
        commit = _commit(location, table.version())
    if commit is None:
        raise VersionNotFound(location.name, f"{table.version()} (any more)", location.open().version())
    sizes = files["size_bytes"].to_pylist()
    return Snapshot(
        table.version(),
        commit.time,
        schema_of(table),
        sum(files["num_records"].to_pylist()),
        sum(sizes),
        len(sizes),
        sum(size < _SMALL_FILE_BYTES for size in sizes),
    )


def versions(location: TableLocation, limit: int, before: int | None) -> list[TableVersion]:
    """Lists commits, newest first; see `DatasetTable.versions`."""
    latest = location.open().version()
    first = latest if before is None else min(before - 1, latest)
    with location.typed_errors():
        found = (_commit(location, version) for version in range(first, max(-1, first - limit), -1))
        return [commit for commit in found if commit is not None]


def delivered(location: TableLocation, producer: str) -> TableVersion | None:
    """Finds the commit of a producer's last delivery; see `DatasetTable.delivered`."""
    table = location.open_if_exists()
    if table is None or table.transaction_version(producer) is None:
        return None
    with location.typed_errors():
        commits = (_commit(location, version) for version in range(table.version(), -1, -1))
        return next((each for each in commits if each and each.delivery and each.delivery.producer == producer), None)


def preview(location: TableLocation, version: int | None, limit: int, offset: int, columns: Sequence[str]) -> pa.Table:
    """Reads some rows; see `DatasetTable.preview`."""
    table = location.open(version)
    schema = schema_of(table)
    if unknown := [name for name in columns if name not in schema.names]:
        raise InvalidColumn(unknown[0], "is not in the table", f"it has {named(schema.names)}")
    found = list(_slices(location, table, list(columns) or schema.names, offset, limit))
    return pa.Table.from_batches(found, schema=pa.schema([schema.field(name) for name in columns]) if columns else schema)


def _slices(location: TableLocation, table: DeltaTable, columns: list[str], offset: int, limit: int) -> Iterator[pa.RecordBatch]:
    with location.typed_errors(), expiry(location, table):
        dataset = table.to_pyarrow_dataset()
        for fragment in dataset.get_fragments():
            if limit <= 0:
                return
            if (in_file := fragment.count_rows()) <= offset:
                offset -= in_file
                continue
            for batch in fragment.to_batches(
                schema=dataset.schema, columns=columns, batch_size=_BATCH_ROWS, batch_readahead=1, use_threads=False
            ):
                taken = batch[offset : offset + limit]
                offset = max(0, offset - batch.num_rows)
                limit -= taken.num_rows
                if taken.num_rows:
                    yield taken
                if limit <= 0:
                    return


def batches(location: TableLocation, version: int | None) -> Iterator[pa.RecordBatch]:
    """Reads all rows; see `DatasetTable.batches`."""
    table = location.open(version)
    with location.typed_errors(), expiry(location, table):
        yield from stored_batches(table)


def stored_batches(table: DeltaTable) -> Iterator[pa.RecordBatch]:
    """Reads all rows in the order of the table's files, a few batches of 65,536 rows ahead."""
    schema = schema_of(table)
    for batch in table.to_pyarrow_dataset().to_batches(batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1):
        if batch.num_rows:
            yield pa.record_batch(batch.columns, schema=schema)


@contextmanager
def expiry(location: TableLocation, table: DeltaTable) -> Iterator[None]:
    """Says that a version expired where a file of it is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise VersionExpired(location.name, table.version()) from error


def _version_at(location: TableLocation, at: datetime) -> int:
    """Searches by halves, taking the clocks of writers to agree. For a time before the table, deltalake's own search answers version 0."""
    latest = location.open().version()

    def time(version: int) -> datetime:
        commit = _commit(location, version)
        return datetime.min.replace(tzinfo=UTC) if commit is None else commit.time

    with location.typed_errors():
        version = bisect_right(range(latest + 1), at, key=time) - 1
    if version < 0:
        raise VersionNotFound(location.name, f"at {at.isoformat()}, it was made later", latest)
    return version


def _commit(location: TableLocation, version: int) -> TableVersion | None:
    commit = commit_info(location, version)
    if commit is None:
        return None
    metrics = commit.get("operationMetrics", {})
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(commit["timestamp"]))
    mode = str(commit.get("operationParameters", {}).get("mode", "")) if commit["operation"] == "WRITE" else ""
    added, inserted, updated = (
        int(metrics.get(name, 0)) for name in ("num_added_rows", "num_target_rows_inserted", "num_target_rows_updated")
    )
    return TableVersion(version, time, str(commit["operation"]), mode, added + inserted + updated, updated, delivery_of(commit))
