"""Where the data come from: a Polars frame, or a stream of Arrow record batches that can be read once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from servers.ingestion.expectations.errors import InvalidBatches

Source: TypeAlias = pl.LazyFrame | pl.DataFrame | pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch]

MEMORY_BYTES = 256 << 20
"""Batches up to this size stay in memory; more go to a temporary file."""


@contextmanager
def readable(source: Source, memory_bytes: int = MEMORY_BYTES) -> Iterator[pl.LazyFrame]:
    """Give the data as a frame that can be scanned more than once.

    Args:
        source: A frame or table, or record batches of one schema, of any sizes.
        memory_bytes: What batches may take in memory before they are kept in a temporary file.

    Yields:
        The frame, as long as the context lasts.

    Raises:
        InvalidBatches: Batches are of different schemas, or there is none to tell the schema; INVALID_ARGUMENT.
    """
    if isinstance(source, pl.LazyFrame | pl.DataFrame):
        yield source.lazy()
        return
    schema = source.schema if isinstance(source, pa.Table | pa.RecordBatchReader) else None
    batches: Iterator[pa.RecordBatch] = iter(source.to_batches() if isinstance(source, pa.Table) else source)
    kept: list[pl.DataFrame] = [] if schema is None else [_frame(schema.empty_table())]
    size_bytes = 0
    for batch in batches:
        kept.append(_like(_frame(batch), kept))
        size_bytes += batch.nbytes
        if size_bytes > memory_bytes:
            break
    else:
        if not kept:
            raise InvalidBatches("There are no record batches; a RecordBatchReader tells its schema even then.")
        yield pl.concat(kept, rechunk=False).lazy()
        return
    with tempfile.TemporaryDirectory(prefix="mlmesh-batches-") as folder:
        path = Path(folder) / "batches.arrow"
        first, rest = kept[0], (_like(_frame(batch), kept[:1]) for batch in batches)
        with pa.ipc.new_file(path, first.to_arrow().schema) as file:
            for frame in chain(kept, rest):
                file.write_table(frame.to_arrow())
        kept.clear()
        yield pl.scan_ipc(path)


def _frame(data: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(data)
    if not isinstance(frame, pl.DataFrame):
        raise InvalidBatches("Record batches have named columns.")
    # Each batch may have a dictionary of its own.
    return frame.with_columns(pl.selectors.categorical().cast(pl.String))


def _like(frame: pl.DataFrame, earlier: list[pl.DataFrame]) -> pl.DataFrame:
    if earlier and frame.schema != earlier[0].schema:
        raise InvalidBatches(f"A record batch has the schema {frame.schema}, and an earlier one {earlier[0].schema}.")
    return frame
