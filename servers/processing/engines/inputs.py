"""Inputs of a job, cut into partitions and put where workers find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.dataset as pads

from servers.processing.engines.chunks import DatasetPart, chunked
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.estimates import InputSize

Handle = TypeVar("Handle")
Partition: TypeAlias = tuple[Handle | DatasetPart, ...]
"""Where the chunks of a partition are."""


@dataclass(frozen=True)
class Placed:
    """An input that workers can read.

    Args:
        chunks: Each is a partition.
        size: What was counted.
    """

    chunks: tuple[object, ...]
    size: InputSize


def placed(relation: Relation, chunk_bytes: int, put: Callable[[pa.Buffer], object], cancellation: Cancellation) -> Placed:
    """Puts an input chunk by chunk where workers find it, or says which of its files they have to read.

    A dataset of files is not read here: each file is a partition, of Parquet each row group. Workers have to reach the files.

    Args:
        relation: The input.
        chunk_bytes: Size of a chunk.
        put: Stores one; it may wait.
        cancellation: Looked at before each batch.
    """
    if isinstance(relation, pads.FileSystemDataset) and not _is_filtered(relation):
        return Placed(tuple(_parts(relation)), InputSize(relation.count_rows()))
    rows = size = 0

    def counted(batch: pa.RecordBatch) -> None:
        nonlocal rows, size
        cancellation.check()
        rows += batch.num_rows
        size += batch.nbytes

    batches = relation if isinstance(relation, pa.RecordBatchReader) else relation.to_batches()
    chunks = tuple(put(chunk) for _, chunk in chunked(((0, batch) for batch in batches), chunk_bytes, counted))
    return Placed(chunks, InputSize(rows, size))


def _parts(dataset: pads.FileSystemDataset) -> Iterator[DatasetPart]:
    for fragment in dataset.get_fragments():
        pieces = fragment.split_by_row_group() if isinstance(fragment, pads.ParquetFileFragment) else [fragment]
        yield from (DatasetPart(piece, dataset.schema) for piece in pieces)


def _is_filtered(dataset: pads.Dataset) -> bool:
    """Whether it is the result of `Dataset.filter`, which its fragments do not know of."""
    return bool(dataset._scan_options)
