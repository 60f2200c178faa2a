"""Pieces of rows that are moved between processes.

A chunk is an Arrow stream of its own, so that each can be read without the others: as bytes, as a file that all processes see, or as a part
of a dataset that a worker reads itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import pyarrow as pa
import pyarrow.dataset as pads

from servers.processing.engines.errors import WorkerDiffers


@dataclass(frozen=True)
class ChunkFile:
    """A chunk in a folder that all processes see."""

    path: str


@dataclass(frozen=True)
class DatasetPart:
    """A file of a dataset, or a row group of one.

    Args:
        fragment: The part.
        schema: Of the dataset, which the file's own may differ from.
    """

    fragment: pads.Fragment
    schema: pa.Schema


Chunk: TypeAlias = pa.Buffer | bytes | ChunkFile | DatasetPart


def batches_of(chunk: Chunk) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a chunk.

    Raises:
        WorkerDiffers: FAILED_PRECONDITION: this process does not see a chunk's file.
    """
    match chunk:
        case DatasetPart():
            yield from chunk.fragment.to_batches(schema=chunk.schema)
        case ChunkFile():
            try:
                mapped = pa.memory_map(chunk.path)
            except FileNotFoundError:
                raise WorkerDiffers(
                    f"a worker does not see {chunk.path}; the engine's spill folder has to be one that all workers share, at the same path"
                ) from None
            with mapped, pa.ipc.open_stream(mapped) as reader:
                yield from reader
        case _:
            with pa.ipc.open_stream(chunk) as reader:
                yield from reader


def reader_of(chunks: Iterable[Chunk], schema: pa.Schema) -> pa.RecordBatchReader:
    """The rows of chunks, one after the other, each taken when it is needed.

    Args:
        chunks: All with the same schema.
        schema: If there are none. After an exchange, types can have another width than that.
    """
    batches = (batch for chunk in chunks for batch in batches_of(chunk))
    first = next(batches, None)
    if first is None:
        return pa.RecordBatchReader.from_batches(schema, [])

    def all_batches() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    return pa.RecordBatchReader.from_batches(first.schema, all_batches())


def written(batches: Sequence[pa.RecordBatch]) -> pa.Buffer:
    """Returns a chunk of some batches; at least one."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def write_file(chunk: pa.Buffer | bytes, folder: Path) -> ChunkFile:
    """Writes a chunk into a folder, under a name of its own, so that who tries again overwrites nothing."""
    path = folder / f"{uuid4().hex}.arrows"
    path.write_bytes(memoryview(chunk))
    return ChunkFile(str(path))


def chunked(
    rows: Iterable[tuple[int, pa.RecordBatch]], chunk_bytes: int, taken: Callable[[pa.RecordBatch], None] = lambda _: None
) -> Iterator[tuple[int, pa.Buffer]]:
    """Puts batches together, or cuts them, to chunks; of all partitions together no more than one is held.

    Args:
        rows: Batches, each with the number of its partition.
        chunk_bytes: Size of a chunk; one is larger only where one row is.
        taken: Told of each batch.

    Yields:
        Chunks that have rows, each with the number of its partition; those of a partition in the order of its batches.
    """
    waiting: dict[int, list[pa.RecordBatch]] = {}
    waiting_bytes = 0
    for number, batch in rows:
        taken(batch)
        for piece in _pieces(batch, chunk_bytes):
            if waiting_bytes and waiting_bytes + piece.nbytes > chunk_bytes:
                yield from ((each, written(batches)) for each, batches in waiting.items())
                waiting, waiting_bytes = {}, 0
            waiting.setdefault(number, []).append(piece)
            waiting_bytes += piece.nbytes
    yield from ((each, written(batches)) for each, batches in waiting.items())


def _pieces(batch: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows == 0:
        return
    rows = max(1, batch.num_rows // max(1, math.ceil(batch.nbytes / most_bytes)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
