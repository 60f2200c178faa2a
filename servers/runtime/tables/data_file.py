"""One Parquet file of a dataset, which any process can read that reaches the storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from servers.runtime.tables.delta_table import typed_errors
from servers.runtime.tables.storage import table_path

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import ParquetFileFragment

BATCH_ROWS = 65_536
"""Most rows of a batch."""
_BATCH_BYTES = 32 << 20
_LEAST_ROWS = 1024


@dataclass(frozen=True)
class DataFile:
    """A file that never changes. May be pickled.

    Args:
        table_uri: Of the table that it is of.
        version: Of the table, that it is read for.
        path: Within the table.
        size_bytes: Of the file, compressed.
        storage_options: As object stores of Rust take them (`AWS_REGION`, …); they may have credentials in them.
    """

    table_uri: str
    version: int
    path: str
    size_bytes: int
    storage_options: Mapping[str, str] = field(repr=False)

    @property
    def uri(self) -> str:
        """Where it lies: `file:///folder/...` or `s3://bucket/...`."""
        return f"{self.table_uri.rstrip('/')}/{self.path}"

    @cached_property
    def row_count(self) -> int:
        """Its rows, by its footer."""
        with typed_errors(self.table_uri, self.version):
            return int(self._fragment().count_rows())

    def batches(self, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads its rows, a batch at a time, in the columns of a version: those that it lacks are null.

        Args:
            schema: Of the version.
            columns: Names of those that are read, in this order; None for all.

        Raises:
            VersionExpired: FAILED_PRECONDITION: a vacuum removed it.
            StorageForbidden: PERMISSION_DENIED: the S3 does not let us in.
            StorageUnavailable: UNAVAILABLE: the storage does not answer.
        """
        import pyarrow as pa
        from pyarrow.dataset import ParquetFragmentScanOptions

        names = schema.names if columns is None else list(columns)
        wanted = pa.schema([schema.field(name) for name in names])
        with typed_errors(self.table_uri, self.version):
            fragment = self._fragment()
            # By default whole row groups are read ahead, several at a time, which is three times the memory.
            scan = ParquetFragmentScanOptions(pre_buffer=False)
            for batch in fragment.to_batches(
                schema=schema,
                columns=names,
                batch_size=_batch_rows(fragment),
                batch_readahead=2,
                fragment_readahead=0,
                fragment_scan_options=scan,
                use_threads=True,
            ):
                if batch.num_rows:
                    yield pa.RecordBatch.from_arrays(batch.columns, schema=wanted)

    def _fragment(self) -> ParquetFileFragment:
        from deltalake.fs import DeltaStorageHandler
        from pyarrow.dataset import ParquetFileFormat
        from pyarrow.fs import PyFileSystem

        storage = DeltaStorageHandler(table_path(self.table_uri), dict(self.storage_options), {self.path: self.size_bytes})
        return ParquetFileFormat().make_fragment(self.path, filesystem=PyFileSystem(storage))


def _batch_rows(fragment: ParquetFileFragment) -> int:
    """Returns how many rows of a file are about as much as may be in memory at a time."""
    metadata = fragment.metadata
    size_bytes = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    # A value takes some bytes in memory even where it takes none in the file.
    row_bytes = max(size_bytes / max(metadata.num_rows, 1), 8 * metadata.num_columns)
    return max(_LEAST_ROWS, min(BATCH_ROWS, int(_BATCH_BYTES / row_bytes)))
