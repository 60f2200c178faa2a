"""Which rows are left out, and why, on local disk: there may be as many of them as there are rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from servers.ingestion.full_disks import noticing_full_disks

SCHEMA = pa.schema([("row", pa.int64()), ("column", pa.string()), ("value", pa.string()), ("reason", pa.string())])
"""Of a row that is left out; its number is counted from 0 here."""

_WAITING_ROWS = 8192


class LeftOutRows:
    """Rows that are left out, in the order of their numbers. In memory are at most 8,192.

    Args:
        folder: For the file; the system's folder for temporary files by default.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="left-out-", dir=folder)
        self._parts: list[Path] = []
        self._waiting: list[tuple[int, str, str | None, str]] = []
        self.count = 0

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Removes the file."""
        self._folder.cleanup()

    def clear(self) -> None:
        """Forgets all of them."""
        for part in self._parts:
            part.unlink()
        self._parts, self._waiting, self.count = [], [], 0

    def add(self, row: int, column: str, value: str | None, reason: str) -> None:
        """Takes one.

        Raises:
            StorageFull: If the disk is full.
        """
        self._waiting.append((row, column, value, reason))
        self.count += 1
        if len(self._waiting) >= _WAITING_ROWS:
            self._flush()

    def add_all(self, rows: pa.RecordBatch) -> None:
        """Takes some, of `SCHEMA`.

        Raises:
            StorageFull: If the disk is full.
        """
        self._flush()
        self._write(rows)
        self.count += rows.num_rows

    def batches(self, last: int | None = None) -> Iterator[pa.RecordBatch]:
        """Gives them in order.

        Args:
            last: Only so many of those that came last; all by default.
        """
        self._flush()
        passed_over = 0 if last is None else self.count - last
        for part in self._parts:
            with pa.OSFile(str(part)) as file, pa.ipc.open_stream(file) as reader:
                batch = reader.read_next_batch()
            if passed_over < batch.num_rows:
                yield batch[passed_over:]
            passed_over = max(0, passed_over - batch.num_rows)

    def _flush(self) -> None:
        if self._waiting:
            columns = [pa.array(values, field.type) for values, field in zip(zip(*self._waiting, strict=True), SCHEMA, strict=True)]
            self._write(pa.record_batch(columns, schema=SCHEMA))
            self._waiting = []

    def _write(self, rows: pa.RecordBatch) -> None:
        if not rows.num_rows:
            return
        part = Path(self._folder.name) / f"{len(self._parts)}.arrows"
        with noticing_full_disks(), pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, SCHEMA) as writer:
            writer.write_batch(rows)
        self._parts.append(part)


class Cursor:
    """Gives rows that are left out piece by piece, as the rows themselves are read.

    Args:
        batches: In the order of their numbers.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._pending: pa.RecordBatch | None = next(batches, None)

    def below(self, row: int) -> Iterator[pa.RecordBatch]:
        """Gives those with numbers below a row that were not given yet."""
        while self._pending is not None:
            place = int(np.searchsorted(self._pending.column("row").to_numpy(), row))
            if place:
                yield self._pending[:place]
            if place < self._pending.num_rows:
                self._pending = self._pending[place:]
                return
            self._pending = next(self._batches, None)
