"""Runs the plan of a job: rows of datasets become files."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from servers.processing.engines.columns_read import columns_read
from servers.processing.engines.opening import EngineKind, EngineSettings, open_engine
from servers.processing.job_process.reading import ReadPlan, read_plan
from servers.processing.kernels.cancellation import Cancellation
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.errors import ResourceExhausted

_LOGGER = logging.getLogger("processing")
_TOLD_EVERY_S = 0.5
_LEAST_BYTES = 4 << 20
"""Of inputs, compressed. All columns of smaller ones are read sooner than it is known which matter."""


class OutputTooLarge(ResourceExhausted):
    """The rows of a job's outputs need more disk than it may take."""

    reason = "JOB_OUTPUT_TOO_LARGE"

    def __init__(self, step: str, most_bytes: int) -> None:
        super().__init__(
            f"step {step!r}: the outputs have more than {most_bytes:,} bytes as Parquet, which MLMESH_PROCESSING_MAX_OUTPUT_BYTES allows; "
            "write less, or allow more",
            metadata={"step": step, "most_bytes": str(most_bytes)},
        )


class DiskFull(ResourceExhausted):
    """There is no room for the rows of a job's outputs."""

    reason = "JOB_DISK_FULL"

    def __init__(self, step: str) -> None:
        super().__init__(f"step {step!r}: the server's disk has no room for the rows; free some, or write less", metadata={"step": step})


class Progress:
    """Tells how many rows there are, now and then."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._rows = 0
        self._told_at = time.monotonic()

    def add(self, rows: int) -> None:
        """Counts rows."""
        self._rows += rows
        if time.monotonic() - self._told_at >= _TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Tells how many there are."""
        self._on_progress({"rows_computed": self._rows})
        self._told_at = time.monotonic()


def compute(arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Computes the outputs of a plan into Parquet files.

    Args:
        arguments: As `read_plan`; `engine`: name of an `EngineKind`; `engine_settings`: as `EngineSettings`; `folder`: for the files;
            `most_output_bytes`: which these may have.
        on_progress: Told how many rows there are.

    Returns:
        `outputs`: of each step `rows` and `file`.

    Raises:
        DomainError: What went wrong, with the step.
    """
    read, most_bytes = read_plan(arguments), arguments["most_output_bytes"]
    for name, dataset in read.datasets.items():
        _LOGGER.info("input %s: version %d of %s, %d rows", name, dataset.version, dataset.uri, dataset.row_count)
    folder, settings = Path(arguments["folder"]), dict(arguments["engine_settings"])
    settings["spill_folder"] = Path(settings["spill_folder"])
    progress, found, left = Progress(on_progress), {}, most_bytes
    started_at = time.monotonic()
    with open_engine(EngineKind(arguments["engine"]), EngineSettings(**settings)) as engine:
        inputs = _inputs(read)
        with engine.run(read.bound, inputs, Cancellation()) as outputs:
            for place, step in enumerate(read.bound.outputs):
                file = folder / f"{place}.parquet"
                rows = written(outputs[step], file, step, left, progress.add, partial(OutputTooLarge, step, most_bytes))
                left -= file.stat().st_size
                found[step] = {"rows": rows, "file": str(file)}
                _LOGGER.info("output %s: %d rows, %d bytes", step, rows, file.stat().st_size)
    progress.tell()
    _LOGGER.info("computed in %.1f s", time.monotonic() - started_at)
    return {"outputs": found}


def _inputs(read: ReadPlan) -> dict[str, pa.RecordBatchReader]:
    """The rows of the inputs, in the columns that matter."""
    datasets = {name: read.datasets[name] for name in read.bound.sources}
    if sum(dataset.size_bytes for dataset in datasets.values()) < _LEAST_BYTES:
        return {name: dataset.reader() for name, dataset in datasets.items()}
    columns = columns_read(read.bound)
    for name, dataset in datasets.items():
        _LOGGER.info("input %s: %d of %d columns are read", name, len(columns[name]), len(dataset.schema.names))
    return {name: dataset.reader_of_some(columns[name]) for name, dataset in datasets.items()}


def written(
    reader: pa.RecordBatchReader,
    file: Path,
    step: str,
    most_bytes: int,
    on_rows: Callable[[int], None],
    too_large: Callable[[], OutputTooLarge],
) -> int:
    """Writes rows into a Parquet file.

    Args:
        reader: The rows.
        file: The file.
        step: Of which they are.
        most_bytes: That the file may have.
        on_rows: Told of each batch how many rows it has.
        too_large: Makes the error of a file that has more.

    Returns:
        How many rows there were.

    Raises:
        OutputTooLarge: RESOURCE_EXHAUSTED: the file got larger.
        DiskFull: RESOURCE_EXHAUSTED: there is no room for it.
    """
    rows = 0
    with pa.OSFile(str(file), "wb") as sink, pq.ParquetWriter(sink, reader.schema, compression="zstd") as writer:
        for batch in reader:
            try:
                writer.write_batch(batch)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise DiskFull(step) from error
                raise
            rows += batch.num_rows
            on_rows(batch.num_rows)
            if sink.tell() > most_bytes:
                raise too_large()
    return rows
