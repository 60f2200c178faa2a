"""`python -m benchmarks.profiles`: what a dataset has in it, from sketches and by a plain Polars query over the same file, turn by turn.

The query is what `describe` would do, with distinct counts and the most frequent values besides: exact, and made anew for each version.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from polars import selectors

from servers.ingestion.profiles.description import QUANTILES, profile_object
from servers.ingestion.profiles.sketches import TableSketch
from servers.ingestion.tables import DatasetTable, Tables

_NUMBERS = ("id", "delay", "distance", "price", "hour", "day", "time")
_FREQUENT = 20


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiles", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the table")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; the median counts")
    given = parser.parse_args()
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-profiles-") as folder:
        table = Tables(Path(folder).as_uri()).table("default", "flights")
        rows = _table(given.rows)
        table.write(iter(rows.to_batches(65_536)), rows.schema)
        del rows
        paths = [Path(folder) / "default" / "flights" / path for path in table.data_files().paths]
        kept = _sketched(table).to_bytes()
        for _ in range(given.rounds):
            seconds["sketches made"].append(_timed(lambda: _sketched(table)))
            seconds["profile from kept sketches"].append(_timed(lambda: _described(table, TableSketch.from_bytes(kept))))
            seconds["plain Polars query"].append(_timed(lambda: _by_query(paths)))
        errors = _errors(_described(table, TableSketch.from_bytes(kept)), _by_query(paths), pl.scan_parquet(paths))
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; Python {platform.python_version()}, polars {version('polars')}, datasketches {version('datasketches')}.")
    print(
        f"{given.rows} rows × 10 columns from Parquet; {given.rounds} turns of each side, alternating; medians (fastest to slowest turn).\n"
    )
    print("| | seconds | rows/s |\n|---|---:|---:|")
    for side, measured in seconds.items():
        print(f"| {side} | {median(measured):.3f} ({min(measured):.3f}–{max(measured):.3f}) | {given.rows / median(measured):,.0f} |")
    print(f"\nSketches of the table: {len(kept):,} bytes.")
    for name, error in errors.items():
        print(f"{name}: {error:.2%}")


def _table(rows: int) -> pa.Table:
    random = np.random.default_rng(0)
    return pa.table(
        {
            "id": np.arange(rows),
            "delay": pa.array(random.normal(10, 30, rows), mask=random.random(rows) < 0.1),
            "distance": random.integers(0, 5000, rows),
            "price": np.round(random.lognormal(5, 1, rows), 2),
            "hour": random.integers(0, 24, rows).astype(np.int32),
            "day": pa.array(random.integers(15_000, 18_000, rows).astype(np.int32)).cast(pa.date32()),
            "time": pa.array(random.integers(0, 10**15, rows)).cast(pa.timestamp("us", "UTC")),
            "carrier": np.array(["UA", "AA", "DL", "WN", "B6"])[random.integers(0, 5, rows)],
            "tail": [f"N{number:05d}" for number in np.minimum(random.zipf(1.5, rows), 99_999)],
            "key": [f"{number:024x}" for number in random.integers(0, 2**62, rows)],
        }
    )


def _sketched(table: DatasetTable) -> TableSketch:
    files, whole = table.data_files(), TableSketch()
    for path in files.paths:
        whole.merge(TableSketch.of(files.batches(path)))
    return whole


def _described(table: DatasetTable, sketch: TableSketch) -> dict[str, Any]:
    return profile_object("flights", 1, table.snapshot().schema, sketch)


def _by_query(paths: list[Path]) -> dict[str, Any]:
    frame = pl.scan_parquet(paths)
    numbers = pl.col(*_NUMBERS).to_physical()
    found = frame.select(
        pl.all().null_count().name.suffix(" nulls"),
        pl.all().n_unique().name.suffix(" distinct"),
        pl.all().min().name.suffix(" min"),
        pl.all().max().name.suffix(" max"),
        selectors.numeric().mean().name.suffix(" mean"),
        selectors.numeric().std().name.suffix(" std"),
        selectors.string().str.len_chars().mean().name.suffix(" length"),
        *(numbers.quantile(level).name.suffix(f" q{level}") for level in QUANTILES),
    )
    frequent = [
        frame.group_by(name).len().top_k(_FREQUENT, by="len").select(pl.col(name), "len") for name in frame.collect_schema().names()
    ]
    whole, *tops = pl.collect_all([found, *frequent], engine="streaming")
    return {"row": whole.row(0, named=True), "tops": tops}


def _errors(profile: dict[str, Any], exact: dict[str, Any], frame: pl.LazyFrame) -> dict[str, float]:
    """Returns the worst errors of estimates over all columns."""
    distinct, ranks = 0.0, 0.0
    for column in profile["columns"]:
        true = exact["row"][f"{column['name']} distinct"] - (column["null_count"] > 0)
        distinct = max(distinct, abs(column["distinct_count"] / true - 1))
        if column["name"] in _NUMBERS:
            values = np.sort(
                frame.select(pl.col(column["name"]).to_physical().cast(pl.Float64)).drop_nulls().collect().to_series().to_numpy()
            )
            unit = {"day": 86_400.0, "time": 1e-6}.get(column["name"], 1.0)
            for level, quantile in zip(QUANTILES, column["quantiles"], strict=True):
                low, high = (np.searchsorted(values, quantile / unit, side) / len(values) for side in ("left", "right"))
                ranks = max(ranks, low - level, level - high)
    return {"worst error of a distinct count": distinct, "worst rank error of a quantile": ranks}


def _timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
