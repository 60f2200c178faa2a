"""Whether the outputs of a pipeline are what a full run gives."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from servers.processing.engines.engine import Engine
from servers.processing.engines.opening import EngineKind, EngineSettings, open_engine
from servers.processing.incremental.difference import difference
from servers.processing.job_process.computing import compute
from servers.processing.kernels.cancellation import Cancellation
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.storage import TableStorage

_LOGGER = logging.getLogger("processing")
_MOST_ROWS = 10
_MOST_CHARACTERS = 1000
_MOST_ROW_BYTES = 64 * 1024
_EXACT = 2**53


@dataclass(frozen=True)
class _Compared:
    """What was found of an output.

    Args:
        missing: Rows that it does not have.
        extra: Rows that it has besides.
        rows: Some of them, as the message has them.
    """

    missing: int
    extra: int
    rows: list[dict[str, Any]]


def compare(arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Computes everything, and compares it with what there is.

    Args:
        arguments: As `compute`; `there`: of each step `dataset`, `uri` and `version` of what is compared; `relative_tolerance`: of numbers
            with a floating point.
        on_progress: Told how many rows there are.

    Returns:
        `missing` and `extra`: how many rows are different; `rows`: some of them, as `DifferentRow`.
    """
    made = compute(arguments, on_progress)["outputs"]
    storage = TableStorage(**arguments["storage"])
    settings = {**arguments["engine_settings"], "spill_folder": Path(arguments["engine_settings"]["spill_folder"])}
    found = []
    with open_engine(EngineKind(arguments["engine"]), EngineSettings(**settings)) as engine:
        for step, given in arguments["there"].items():
            there = open_dataset(given["uri"], given["version"], storage)
            one = _compared(given["dataset"], Path(made[step]["file"]), there, engine, arguments["relative_tolerance"])
            _LOGGER.info("output %s: %d rows are missing, and %d are extra", step, one.missing, one.extra)
            found.append(one)
    return {
        "missing": sum(each.missing for each in found),
        "extra": sum(each.extra for each in found),
        "rows": [row for each in found for row in each.rows],
    }


def _compared(dataset: str, file: Path, there: Dataset, engine: Engine, tolerance: float) -> _Compared:
    with pq.ParquetFile(file) as full:
        wanted = full.schema_arrow
        if missing := [name for name in wanted.names if name not in there.schema.names]:
            _LOGGER.warning("the dataset %s has no column %s, so all its rows are different", dataset, ", ".join(map(repr, missing)))
            return _Compared(full.metadata.num_rows, there.row_count, [])
        # A dataset holds some types as others. Columns that it has besides are not the pipeline's.
        schema = pa.schema([there.schema.field(name) for name in wanted.names])
        sums = [field.name for field in schema if pa.types.is_floating(field.type)]
        rows = pa.RecordBatchReader.from_batches(schema, _as(schema, full))
        has = there.reader(wanted.names)
        found = difference(rows, has, engine, Cancellation(), sums=sums, relative_tolerance=tolerance, most_rows=_MOST_ROWS)
    shown = [_row(dataset, values, is_extra=False) for values in found.missing_rows.to_pylist()]
    shown += [_row(dataset, values, is_extra=True) for values in found.surplus_rows.to_pylist()]
    return _Compared(found.missing, found.surplus, [row for row in shown if row is not None])


def _as(schema: pa.Schema, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for batch in file.iter_batches():
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)], schema=schema
        )


def _row(dataset: str, values: Mapping[str, Any], *, is_extra: bool) -> dict[str, Any] | None:
    row = {"dataset": dataset, "is_extra": is_extra, "values": {name: _json_value(value) for name, value in values.items()}}
    return row if len(json.dumps(row)) <= _MOST_ROW_BYTES else None


def _json_value(value: Any) -> Any:
    """A value as JSON and doubles have it; others are text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _EXACT:
        return value
    if isinstance(value, list):
        return [_json_value(each) for each in value[:_MOST_CHARACTERS]]
    return str(value)[:_MOST_CHARACTERS]
