"""What one task of a distributed engine does: a stage on a partition, an exchange, or one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from servers.processing.engines.chunks import Chunk, chunked, reader_of
from servers.processing.engines.errors import WorkerDiffers
from servers.processing.engines.kinds import EngineSettings
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.exchange import hashed
from servers.processing.kernels.stage_kernel import stage_rows
from servers.processing.stages.stage import HashKey, Stage
from servers.runtime.duckdb_session import DuckdbLimits, session


def kernel_limits(settings: EngineSettings) -> DuckdbLimits:
    """What the DuckDB of one task may take."""
    return DuckdbLimits(settings.task_memory_bytes, settings.task_threads, settings.spill_folder, settings.spill_bytes)


@dataclass(frozen=True)
class Task:
    """What is done with some chunks.

    Args:
        stage: What is computed; None if rows are only moved.
        schemas: Of each input, if it has no chunks.
        keys: By which the result is divided into partitions; none if it is not.
        partitions: Into how many.
        limits: Of its DuckDB.
        chunk_bytes: Size of the result's chunks.
        duckdb_version: That hashes as the other workers do.
    """

    stage: Stage | None
    schemas: tuple[pa.Schema, ...]
    keys: tuple[HashKey, ...]
    partitions: int
    limits: DuckdbLimits
    chunk_bytes: int
    duckdb_version: str = duckdb.__version__


def task_chunks(task: Task, inputs: Sequence[Iterable[Chunk]], cancellation: Cancellation) -> Iterator[tuple[int, pa.Buffer]]:
    """Yields the chunks of a task's result, each with the number of its partition, or 0 where there are no keys.

    Args:
        task: What to do.
        inputs: The chunks of each input, taken when they are needed.
        cancellation: Stops it.

    Raises:
        WorkerDiffers: FAILED_PRECONDITION: this worker has another DuckDB.
        DomainError: What went wrong, as in one process.
    """
    if duckdb.__version__ != task.duckdb_version:
        raise WorkerDiffers(
            f"a worker has DuckDB {duckdb.__version__}, the run was started with {task.duckdb_version}; they may hash differently: "
            "install the same one everywhere"
        )
    failures: list[Exception] = []

    def recorded(rows: pa.RecordBatchReader | Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # DuckDB only keeps the words of what a stream raises.
        try:
            yield from rows
        except Exception as error:
            failures.append(error)
            raise

    def stream(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(rows.schema, recorded(rows))

    with session(_on_this_machine(task.limits)) as connection:
        readers = [stream(reader_of(chunks, schema)) for chunks, schema in zip(inputs, task.schemas, strict=True)]
        if task.stage is None:
            rows = readers[0]
        else:
            computed = recorded(stage_rows(task.stage, readers, connection.cursor(), cancellation))
            rows = pa.RecordBatchReader.from_batches(task.stage.schema, computed) if task.keys else computed
        numbered = (
            hashed(rows, task.keys, task.partitions, connection.cursor(), cancellation) if task.keys else ((0, batch) for batch in rows)
        )
        try:
            yield from chunked(numbered, task.chunk_bytes)
        except Exception as error:
            if failures and failures[0] is not error:
                raise failures[0] from error
            raise


def _on_this_machine(limits: DuckdbLimits) -> DuckdbLimits:
    """A worker of a cluster need not have the folder of the process that started the run."""
    has_folder = limits.spill_folder is not None and limits.spill_folder.is_dir()
    return limits if has_folder else replace(limits, spill_folder=Path(tempfile.gettempdir()))
