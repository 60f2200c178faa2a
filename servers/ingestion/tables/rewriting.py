"""Columns are renamed and dropped by writing the files of a table anew, as one commit.

Delta's column mapping would leave the files alone. deltalake 1.6 writes it, but what it gives pyarrow and pandas is null in such a column,
without an error.

Files are rewritten in groups, beside those of the table, where nobody sees them until the commit. Where it loses against another one, the
groups whose files are still there are kept, so the next attempt rewrites only what came meanwhile: that takes no longer than the others'
commits, however large the table is. What an attempt leaves behind, `vacuum` finds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable, Schema, write_deltalake
from deltalake._internal import DeltaFileSystemHandler
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import Field
from deltalake.transaction import AddAction

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.table_errors import TableNotRewritable
from servers.ingestion.tables.column_fence import column_change
from servers.ingestion.tables.contract import Delivery
from servers.ingestion.tables.delta_log import WRITER, TableLocation, exclusive, schema_of
from servers.ingestion.tables.reading import expiry
from servers.ingestion.tables.spool import spooled

OnRows = Callable[[int], None]
"""Gets the number of rows that were rewritten since the last call."""

_GROUP_BYTES = 64 << 20
"""Files are rewritten together up to this size: so small ones become large ones, and what lies on local disk stays small."""

_KNOWN_FEATURES = {"timestampNtz"}
_BATCH_ROWS = 65_536
_COPY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What a change of columns did."""

    version: int
    """With the changed columns; the latest one, where the change was made before."""
    was_made_before: bool


def change_columns(location: TableLocation, changes: ColumnChanges, delivery: Delivery | None, on_rows: OnRows) -> Rewritten:
    """Renames and drops columns; see `DatasetTable.change_columns`."""
    return location.until_committed(_Rewriting(location, changes, delivery, on_rows).attempt)


def check_changes(location: TableLocation, changes: ColumnChanges) -> None:
    """Says whether columns can be renamed and dropped; see `DatasetTable.check_changes`."""
    _changed(location, location.open(), changes)


class _Rewriting:
    """One change, over all its attempts."""

    def __init__(self, location: TableLocation, changes: ColumnChanges, delivery: Delivery | None, on_rows: OnRows) -> None:
        self._location = location
        self._changes = changes
        self._delivery = delivery
        self._on_rows = on_rows
        # `DeltaStorageHandler` wraps it into streams of pyarrow, which give it buffers that it does not take.
        self._files = DeltaFileSystemHandler(location.uri, location.options)
        self._schema: Schema | None = None
        self._groups: dict[frozenset[str], list[AddAction]] = {}

    def attempt(self) -> Rewritten:
        """Changes the table, or fails because of others who commit at the same time."""
        table = self._location.open()
        last = None if self._delivery is None else table.transaction_version(self._delivery.producer)
        if self._delivery is not None and last is not None and last >= self._delivery.sequence:
            return Rewritten(table.version(), was_made_before=True)
        staying = _changed(self._location, table, self._changes)
        sizes = _sizes(table)
        # After another change of the schema even a file that is still there may have to become another one.
        is_valid = table.schema() == self._schema
        self._schema = table.schema()
        self._groups = {paths: adds for paths, adds in self._groups.items() if is_valid and paths <= sizes.keys()}
        done = frozenset().union(*self._groups)
        for group in _grouped({path: size for path, size in sizes.items() if path not in done}):
            self._groups[frozenset(group)] = self._rewritten(table, group, staying)
        version = table.version() + 1
        table.create_write_transaction(
            [add for adds in self._groups.values() for add in adds],
            "overwrite",
            Schema([_renamed(field, staying[field.name]) for field in table.schema().fields if field.name in staying]),
            commit_properties=exclusive(self._delivery, (column_change(version),), renamed=self._changes.renamed),
        )
        return Rewritten(version, was_made_before=False)

    def _rewritten(self, table: DeltaTable, sizes: Mapping[str, int], staying: Mapping[str, str]) -> list[AddAction]:
        """Writes the rows of some files to new ones, which belong to no version yet."""
        stored = schema_of(table)
        schema = pa.schema([pa.field(new, stored.field(old).type) for old, new in staying.items()])
        batches = self._counted(_stored_rows(self._location, table, sizes, list(staying)), schema)
        # Reading while writing would call deltalake from a thread of its runtime, which panics.
        with (
            spooled(batches, schema, self._location.spool_folder) as spool,
            tempfile.TemporaryDirectory(prefix="rewriting-", dir=self._location.spool_folder) as folder,
        ):
            # A table of its own, so that statistics are as deltalake writes them.
            write_deltalake(folder, pa.RecordBatchReader.from_batches(schema, spool.batches()), writer_properties=WRITER)
            adds = list(_added(Path(folder)))
            for add in adds:
                self._copy(Path(folder) / add.path, add.path)
            return adds

    def _copy(self, source: Path, path: str) -> None:
        target: Any = self._files.open_output_stream(path)
        with source.open("rb") as file, closing(target):
            shutil.copyfileobj(file, target, _COPY_BYTES)

    def _counted(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self._on_rows(batch.num_rows)
            yield pa.record_batch(batch.columns, schema=schema)


def _changed(location: TableLocation, table: DeltaTable, changes: ColumnChanges) -> dict[str, str]:
    metadata, features = table.metadata(), set(table.protocol().reader_features or ())
    if metadata.partition_columns:
        raise TableNotRewritable(location.name, "partitions")
    # pyarrow reads null from mapped columns, and rows that a deletion vector has deleted.
    if features - _KNOWN_FEATURES or metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        raise TableNotRewritable(location.name, "features such as column mapping or deletion vectors")
    return changes.applied([field.name for field in table.schema().fields])


def _sizes(table: DeltaTable) -> dict[str, int]:
    files = pa.table(table.get_add_actions(flatten=True))
    return dict(zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True))


def _grouped(sizes: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Puts files together."""
    group: dict[str, int] = {}
    group_bytes = 0
    for path, size in sizes.items():
        if group and group_bytes + size > _GROUP_BYTES:
            yield group
            group, group_bytes = {}, 0
        group[path] = size
        group_bytes += size
    if group:
        yield group


def _stored_rows(location: TableLocation, table: DeltaTable, sizes: Mapping[str, int], columns: list[str]) -> Iterator[pa.RecordBatch]:
    # It loads pandas, which takes longer than everything else together.
    from pyarrow.dataset import ParquetFileFormat, ParquetFragmentScanOptions

    # `to_pyarrow_dataset` looks at all files of the table, which takes longer than to rewrite the few that others have just added.
    files = pyarrow.fs.PyFileSystem(DeltaStorageHandler(location.uri, location.options, dict(sizes)))
    parquet = ParquetFileFormat(default_fragment_scan_options=ParquetFragmentScanOptions(pre_buffer=True))
    schema = schema_of(table)
    with expiry(location, table):
        for path in sizes:
            fragment = parquet.make_fragment(path, filesystem=files)
            yield from fragment.to_batches(schema=schema, columns=columns, batch_size=_BATCH_ROWS, batch_readahead=2, use_threads=False)


def _renamed(field: Field, name: str) -> Field:
    return Field(name, field.type, nullable=field.nullable, metadata=field.metadata)


def _added(folder: Path) -> Iterator[AddAction]:
    """Reads which files the first commit of a table has."""
    for line in (folder / "_delta_log" / f"{0:020}.json").read_text("utf-8").splitlines():
        add: dict[str, Any] | None = json.loads(line).get("add")
        if add is not None:
            yield AddAction(
                path=add["path"],
                size=add["size"],
                partition_values={},
                modification_time=add["modificationTime"],
                data_change=True,
                stats=add["stats"],
            )
