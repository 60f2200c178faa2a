"""Batches of an even size, whatever the blocks they were read in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.errors import FileTooLarge
from servers.ingestion.readers.options import ReadLimits


class Source(NamedTuple):
    """What a format's module gives: rows that can be read again and again.

    Args:
        schema: Types of the columns.
        batches: Starts reading from the first row.
        warnings: What a person should know about how the file was read.
        line_of: Line of the file for a row, both from 1.
        is_plain: Whether the types are already those that tables hold.
    """

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    warnings: tuple[str, ...] = ()
    line_of: Callable[[int], int] = lambda row: row
    is_plain: bool = False


def even(batches: Iterable[pa.RecordBatch], limits: ReadLimits) -> Iterator[pa.RecordBatch]:
    """Cuts and joins batches to the limits; none is empty."""
    waiting: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        for piece in _pieces(batch, limits):
            if waiting and (rows + piece.num_rows > limits.batch_rows or size_bytes + piece.nbytes > limits.batch_bytes):
                yield _joined(waiting)
                waiting, rows, size_bytes = [], 0, 0
            waiting.append(piece)
            rows += piece.num_rows
            size_bytes += piece.nbytes
    if waiting:
        yield _joined(waiting)


@contextmanager
def read_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """Reads the next batch in a thread while this one is worked on. After the block nothing is read any more."""
    with ThreadPoolExecutor(1) as thread:

        def ahead() -> Iterator[pa.RecordBatch]:
            following = thread.submit(next, batches, None)
            while (batch := following.result()) is not None:
                following = thread.submit(next, batches, None)
                yield batch

        yield ahead()


def check_cells(batch: pa.RecordBatch, first_row: int, line_of: Callable[[int], int], name: str, limits: ReadLimits) -> None:
    """Refuses text and binary values that are too large.

    Raises:
        FileTooLarge: If there is one; names the line and column.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if column.nbytes <= limits.max_cell_bytes:
            continue
        size_bytes = _largest_bytes(column)
        if size_bytes > limits.max_cell_bytes:
            is_flat = pa.types.is_string(column.type) or pa.types.is_binary(column.type)
            row = pc.index(pc.binary_length(column), pa.scalar(size_bytes, pa.int32())).as_py() if is_flat else 0
            text = f"a value has {size_bytes} bytes; at most {limits.max_cell_bytes} are allowed. Keep such a value in a file of its own"
            raise FileTooLarge(text, file=name, line=line_of(first_row + row) if is_flat else None, column=field.name)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    # Arrow copies even a single one.
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _pieces(batch: pa.RecordBatch, limits: ReadLimits) -> Iterator[pa.RecordBatch]:
    if not batch.num_rows:
        return
    by_bytes = max(1, batch.num_rows * limits.batch_bytes // max(1, batch.nbytes))
    rows = min(limits.batch_rows, by_bytes)
    for offset in range(0, batch.num_rows, rows):
        yield batch.slice(offset, rows)


def _largest_bytes(array: Any) -> int:
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        return pc.max(pc.binary_length(array)).as_py() or 0
    if pa.types.is_struct(array.type):
        return max((_largest_bytes(child) for child in array.flatten()), default=0)
    if pa.types.is_map(array.type):
        return max(_largest_bytes(array.keys), _largest_bytes(array.items))
    return _largest_bytes(array.flatten()) if pa.types.is_list(array.type) else 0
