"""Rows on local disk while nobody knows yet what types the rows after them will need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


class KeptRows:
    """A file of Arrow streams, one behind the other: a new one begins where a column gets another type.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def adding(self) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Gives a function that adds a batch; all are in the file after the block."""
        writer: pa.RecordBatchStreamWriter | None = None
        schema: pa.Schema | None = None

        def add(batch: pa.RecordBatch) -> None:
            nonlocal writer, schema
            if writer is None or batch.schema != schema:
                if writer is not None:
                    writer.close()
                writer, schema = pa.ipc.new_stream(file, batch.schema), batch.schema
            writer.write_batch(batch)

        with pa.OSFile(str(self._path), "wb") as file:
            yield add
            if writer is not None:
                writer.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in their order, each batch as it was added."""
        size_bytes = self._path.stat().st_size
        with pa.OSFile(str(self._path)) as file:
            while file.tell() < size_bytes:
                yield from pa.ipc.open_stream(file)
