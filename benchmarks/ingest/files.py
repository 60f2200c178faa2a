"""The files that are ingested: flights, the same rows as CSV and as Parquet."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

_ROWS_AT_ONCE = 250_000
_FIRST_DAY = np.datetime64(datetime.date(2015, 1, 1))
_WORDS = ("late", "crew", "weather", "gate", "runway", "security, again", 'the "usual"', "Zürich", "inspection", "none")


def write_files(folder: Path, rows: int) -> dict[str, Path]:
    """Writes the files; returns their paths by format."""
    paths = {"CSV": folder / "flights.csv", "Parquet": folder / "flights.parquet"}
    with (
        pyarrow.csv.CSVWriter(paths["CSV"], _schema()) as as_csv,
        pyarrow.parquet.ParquetWriter(paths["Parquet"], _schema()) as as_parquet,
    ):
        for batch in _batches(rows):
            as_csv.write_batch(batch)
            as_parquet.write_batch(batch)
    return paths


def _schema() -> pa.Schema:
    return next(_batches(1)).schema


def _batches(rows: int) -> Iterator[pa.RecordBatch]:
    random = np.random.default_rng(7)
    airports = pa.array(["".join(letters) for letters in random.choice(list("ABCDEFGHKLMNOPRSTUVWXYZ"), (300, 3))])
    carriers = pa.array([f"Carrier {number}" for number in range(18)])
    for start in range(0, rows, _ROWS_AT_ONCE):
        count = min(_ROWS_AT_ONCE, rows - start)
        days = _FIRST_DAY + random.integers(0, 3650, count)
        seconds = random.integers(0, 86_400, count)
        words = pa.array([f"{_WORDS[first]} {_WORDS[second]}" for first, second in random.integers(0, len(_WORDS), (count, 2))])
        yield pa.record_batch(
            {
                "id": pa.array(np.arange(start, start + count)),
                "date": pa.array(days),
                "carrier": carriers.take(pa.array(random.integers(0, len(carriers), count))),
                "origin": airports.take(pa.array(random.integers(0, len(airports), count))),
                "departed": pa.array((days.astype("datetime64[s]") + seconds).astype("datetime64[us]")),
                "delay_minutes": _with_nulls(random, pa.array(random.integers(-20, 400, count))),
                "distance_km": pa.array(np.round(random.gamma(2.0, 600.0, count), 1)),
                "load_factor": _with_nulls(random, pa.array(random.random(count))),
                "is_cancelled": pa.array(random.random(count) < 0.02),
                "remark": _with_nulls(random, words),
            }
        )


def _with_nulls(random: np.random.Generator, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(random.random(len(values)) < 0.1), pa.scalar(None, values.type), values)
