"""A dataset at one version: its columns, its size, its rows as a stream, and its files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servers.runtime.tables.data_file import BATCH_ROWS, DataFile
from servers.runtime.tables.delta_table import opened, schema_of, typed_errors
from servers.runtime.tables.storage import TableStorage

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Dataset:
    """A version of a dataset. May be pickled.

    Args:
        uri: Of its table: `file:///folder/...` or `s3://bucket/...`.
        version: Which one.
        schema: Columns with the types that `Dataset.columns` of ingestion's contract has, without metadata.
        row_count: Its rows.
        size_bytes: Of its files, compressed.
        storage: Of the S3 that it is in.
        table_id: Stays as long as the table: another one means that the dataset was deleted and made anew.
        statistics: A row a file, in the order of `files`: `min.<column>`, `max.<column>` and `null_count.<column>`, null where not known.
    """

    uri: str
    version: int
    schema: pa.Schema
    row_count: int
    size_bytes: int
    table_id: str
    storage: TableStorage
    statistics: pa.Table = field(repr=False)
    _files: tuple[DataFile, ...] = field(repr=False)

    def files(self) -> tuple[DataFile, ...]:
        """Returns its Parquet files, for engines whose workers read them: `file.batches(dataset.schema)`."""
        return self._files

    def reader(self, columns: Sequence[str] | None = None, files: Sequence[DataFile] | None = None) -> pa.RecordBatchReader:
        """Reads its rows file by file, a few batches in memory whatever its size.

        Args:
            columns: Names of those that are read, in this order; None for all.
            files: Of it; None for all.

        Returns:
            A reader, whose errors are those of `DataFile.batches`.

        Raises:
            KeyError: It has no such column.
        """
        import pyarrow as pa

        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatchReader.from_batches(schema, self._batches(columns, self._files if files is None else files))

    def reader_of_some(self, columns: Collection[str]) -> pa.RecordBatchReader:
        """Reads some of its columns; the others are there, and null: for whoever knows that nobody looks at them.

        Args:
            columns: Names of those that are read; at least one.

        Returns:
            A reader of the whole schema, whose errors are those of `DataFile.batches`.
        """
        import pyarrow as pa

        nulls = [None if field.name in columns else pa.nulls(BATCH_ROWS, field.type) for field in self.schema]
        read = [name for name in self.schema.names if name in columns]

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in self._batches(read, self._files):
                found = iter(batch.columns)
                arrays = [next(found) if empty is None else empty.slice(0, batch.num_rows) for empty in nulls]
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

        return pa.RecordBatchReader.from_batches(self.schema, batches())

    def _batches(self, columns: Sequence[str] | None, files: Sequence[DataFile]) -> Iterator[pa.RecordBatch]:
        for file in files:
            yield from file.batches(self.schema, columns)


def open_dataset(uri: str, version: int, storage: TableStorage) -> Dataset:
    """Opens a version of a dataset; reads its log, not its rows.

    Args:
        uri: Of its table, as `Dataset.uri` of ingestion's contract has it.
        version: Which one.
        storage: Of the S3 that tables are in.

    Raises:
        TableGone: NOT_FOUND: there is no table.
        VersionNotFound: NOT_FOUND: it never had the version.
        VersionExpired: FAILED_PRECONDITION: it has forgotten the version. Where only files are missing, reading says so.
        TableNotReadable: FAILED_PRECONDITION: another program gave it partitions, mapped columns or deletion vectors.
        StorageForbidden: PERMISSION_DENIED: the S3 does not let us in.
        StorageUnavailable: UNAVAILABLE: the storage does not answer.
    """
    import pyarrow as pa

    table = opened(uri, version, storage)
    with typed_errors(uri, version):
        actions = pa.table(table.get_add_actions(flatten=True))
    options, sizes = storage.options(), actions["size_bytes"].to_pylist()
    files = tuple(DataFile(uri, version, path, size, options) for path, size in zip(actions["path"].to_pylist(), sizes, strict=True))
    counts = actions["num_records"].to_pylist()
    # Programs other than ingestion may write files without statistics.
    rows = sum(file.row_count if count is None else count for file, count in zip(files, counts, strict=True))
    return Dataset(uri, version, schema_of(table), rows, sum(sizes), str(table.metadata().id), storage, actions, files)
