"""Training sets: a plan on the local engine, five ASOF joins by hand, Feast."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from benchmarks.features.feast_python import feast_python
from servers.features.offline.retrieval import retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import bind
from servers.processing.plan_messages import plan_from_proto
from servers.runtime.duckdb_session import DuckdbLimits

_ROOT = Path(__file__).parents[2]
_ORACLE = _ROOT / "tests" / "compat" / "feast" / "oracle" / "historical.py"
_HAND, _PLAN, _BITEMPORAL, _FEAST = "statement by hand", "mlmesh", "mlmesh, with write times", "Feast"
_START = np.datetime64("2026-01-01", "us")
_PERIOD_US = 90 * 86_400_000_000
_MOST_WRITE_DELAY_US = 86_400_000_000
_KEYS = 20_000
_THREADS = 2
_MEMORY_BYTES = 2 << 30


@dataclass(frozen=True)
class Turn:
    """What one side took.

    Args:
        seconds: From Parquet to the last row as Arrow, without imports.
        processor_s: The same in time of processors; NaN for Feast, which runs elsewhere.
    """

    seconds: float
    processor_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be chosen."""
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the spine")
    parser.add_argument("--view-rows", type=int, default=200_000, help="rows of each view")
    parser.add_argument("--views", type=int, default=5, help="feature views")
    parser.add_argument("--features", type=int, default=10, help="features of each view")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; the median counts")
    parser.add_argument("--without-feast", action="store_true", help="leave Feast out")


def run(given: argparse.Namespace) -> None:
    """Measures and prints."""
    sides = [_HAND, _PLAN, _BITEMPORAL, *([] if given.without_feast else [_FEAST])]
    python = None if given.without_feast else feast_python()
    turns: defaultdict[str, list[Turn]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-features-") as name:
        folder = Path(name)
        views = _write_tables(folder, given.rows, given.view_rows, given.views, given.features)
        for side in sides[:3]:
            _turn(side, folder, views, given.rows, python)
        for number in range(given.rounds):
            for side in sorted(sides, key=sides.index, reverse=number % 2 == 0):
                turns[side].append(_turn(side, folder, views, given.rows, python))
                print(f"turn {number + 1} of {given.rounds}: {side} {turns[side][-1].seconds:.2f} s", file=sys.stderr)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; Python {platform.python_version()}, DuckDB {duckdb.__version__}.")
    print(f"{given.rows} rows, {given.views} views of {given.view_rows} rows and {given.features} features each, from Parquet to Arrow;")
    print(f"{given.rounds} turns of each side, alternating; medians (fastest to slowest turn).\n")
    print("| | seconds | processor time, s | of the statement by hand |\n|---|---:|---:|---:|")
    for side in sides:
        seconds = [each.seconds for each in turns[side]]
        processor_s = "" if side == _FEAST else f"{median(each.processor_s for each in turns[side]):.2f}"
        ratio = median(seconds) / median(each.seconds for each in turns[_HAND])
        print(f"| {side} | {median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f}) | {processor_s} | {ratio:.2f}× |")


def _turn(side: str, folder: Path, views: list[FeatureView], rows: int, python: Path | None) -> Turn:
    if side == _FEAST:
        return _by_feast(folder, python, rows)
    started, processor = time.perf_counter(), _processor_s()
    found = sum(_by_hand(folder, views) if side == _HAND else _by_plan(folder, views, is_bitemporal=side == _BITEMPORAL))
    turn = Turn(time.perf_counter() - started, _processor_s() - processor)
    if found != rows:
        raise SystemExit(f"{side} made {found} rows of {rows}")
    return turn


def _by_plan(folder: Path, views: list[FeatureView], *, is_bitemporal: bool) -> Iterable[int]:
    """Binding included; yields the number of rows of each batch."""
    chosen = views if is_bitemporal else [FeatureView(each.name, each.input, each.keys, each.event_time, each.features) for each in views]
    made = retrieval(TrainingSet(Spine("spine", "event_timestamp", ("customer", "event_timestamp", "label")), tuple(chosen)))
    inputs = {name: pads.dataset(folder / f"{name}.parquet") for name in made.inputs}
    plan = bind(plan_from_proto(made.plan), {name: dataset.schema for name, dataset in inputs.items()})
    with LocalEngine(DuckdbLimits(_MEMORY_BYTES, _THREADS)).run(plan, inputs, Cancellation()) as outputs:
        for batch in outputs[made.output]:
            yield batch.num_rows


def _by_hand(folder: Path, views: list[FeatureView]) -> Iterable[int]:
    """What somebody would write who knows DuckDB and has neither ties nor write times."""
    joins = [
        f"ASOF LEFT JOIN '{folder}/{view.name}.parquet' AS {view.name} "
        f"ON spine.customer = {view.name}.customer AND spine.event_timestamp >= {view.name}.moment"
        for view in views
    ]
    columns = [f"{view.name}.{feature.column}" for view in views for feature in view.features]
    connection = duckdb.connect(config={"threads": _THREADS, "preserve_insertion_order": False})
    query = f"SELECT spine.*, {', '.join(columns)} FROM '{folder}/spine.parquet' AS spine {' '.join(joins)}"
    for batch in connection.sql(query).to_arrow_reader(65_536):
        yield batch.num_rows
    connection.close()


def _by_feast(folder: Path, python: Path | None, rows: int) -> Turn:
    answer = subprocess.run((str(python), "-P", str(_ORACLE), str(folder)), capture_output=True, text=True, cwd=folder)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    told = json.loads(answer.stdout.splitlines()[-1])
    if told["rows"] != rows:
        raise SystemExit(f"Feast made {told['rows']} rows of {rows}")
    return Turn(told["seconds"], float("nan"))


def _write_tables(folder: Path, rows: int, view_rows: int, views: int, features: int) -> list[FeatureView]:
    random = np.random.default_rng(11)

    def moments(count: int) -> np.ndarray:
        return _START + random.integers(0, _PERIOD_US, count).astype("timedelta64[us]")

    def times(values: np.ndarray) -> pa.Array:
        return pa.array(values, pa.timestamp("us", "UTC"))

    spine = {"customer": random.integers(0, _KEYS, rows), "event_timestamp": times(moments(rows)), "label": random.random(rows) < 0.1}
    pq.write_table(pa.table(spine), folder / "spine.parquet")
    made, described = [], []
    for number in range(views):
        events, delays = moments(view_rows), random.integers(0, _MOST_WRITE_DELAY_US, view_rows).astype("timedelta64[us]")
        names = [f"feature_{number}_{place}" for place in range(features)]
        table = {"customer": random.integers(0, _KEYS, view_rows), "moment": times(events), "written": times(events + delays)}
        table |= {name: random.random(view_rows) for name in names}
        pq.write_table(pa.table(table), folder / f"view_{number}.parquet")
        view = f"view_{number}"
        made.append(FeatureView(view, view, (ViewKey("customer", "customer"),), "moment", tuple(map(Feature, names)), write_time="written"))
        described.append({"name": view, "key": "customer", "event_time": "moment", "features": names, "max_age_s": None})
    (folder / "views.json").write_text(json.dumps(described))
    return made


def _processor_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime
