"""A delivery on local disk, so that it can be judged as a whole before anything is written, and sent again after a conflict."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from servers.ingestion.date_range import RANGE, first_unstorable
from servers.ingestion.full_disks import noticing_full_disks
from servers.ingestion.table_errors import ValueDoesNotFit
from servers.ingestion.tables.lossless import shown

_BATCH_ROWS = 65_536


class Spool:
    """The batches of a delivery in a temporary file of Arrow's stream format, as large as the delivery in memory.

    Args:
        path: The file.
        schema: Of the delivery.
        row_count: Its rows.
    """

    def __init__(self, path: Path, schema: pa.Schema, row_count: int) -> None:
        self._path = path
        self.schema = schema
        self.row_count = row_count

    def batches(self, columns: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows in their order, in batches of at most 65,536 rows, of which one is in memory.

        Args:
            columns: Which ones, ascending; all by default.
        """
        options = pa.ipc.IpcReadOptions(included_fields=None if columns is None else list(columns))
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file, options=options) as reader:
            yield from reader


@contextmanager
def spooled(batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: Path | None) -> Iterator[Spool]:
    """Keeps a delivery as long as the block runs.

    Args:
        batches: Each of `schema`.
        schema: Of the delivery.
        folder: For the file; the system's folder for temporary files by default.

    Raises:
        StorageFull: If the disk is full.
        ValueDoesNotFit: If there is a date that no table holds.
    """
    with tempfile.TemporaryDirectory(prefix="delivery-", dir=folder) as temporary:
        path, row_count = Path(temporary) / "rows.arrows", 0
        with noticing_full_disks(), pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
            for batch in batches:
                _check_dates(batch, row_count)
                for start in range(0, batch.num_rows, _BATCH_ROWS):
                    writer.write_batch(batch[start : start + _BATCH_ROWS])
                row_count += batch.num_rows
        yield Spool(path, schema, row_count)


def _check_dates(batch: pa.RecordBatch, first_row: int) -> None:
    for field, values in zip(batch.schema, batch.columns, strict=True):
        if (row := first_unstorable(values)) is not None:
            remedy = f"tables hold dates of {RANGE}: correct it, or send text"
            raise ValueDoesNotFit(field.name, first_row + row, str(shown(values, row)), str(field.type), remedy)
