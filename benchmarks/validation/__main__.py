"""`python -m benchmarks.validation`: one run of all sides, turn by turn, over the same Parquet file.

Great Expectations is that of `.venv-great-expectations` (`make .venv-great-expectations/.ready`), unless MLMESH_BENCH_GX_PYTHON names a
Python that has it with pandas and pyarrow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks.validation.suite import CARRIERS, SUITE, write_table
from servers.ingestion.expectations import suite_from_json, validate

_GX_PYTHON = "MLMESH_BENCH_GX_PYTHON"
_HERE = Path(__file__).parent
_SIDES = ("query by hand", "mlmesh", "Great Expectations")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the table")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side; the median counts")
    given = parser.parse_args()
    python = _gx_python()
    seconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-validation-") as folder:
        suite_file = Path(folder) / "suite.json"
        suite_file.write_text(json.dumps(SUITE))
        for kind, is_broken in (("all met", False), ("one broken, with its rows", True)):
            table = Path(folder) / "table.parquet"
            write_table(table, given.rows, is_broken=is_broken)
            expected = len(SUITE["expectations"]) - is_broken
            for side in _SIDES[:2]:
                _turn(side, table, suite_file, python)
            for number in range(given.rounds):
                for side in sorted(_SIDES, key=_SIDES.index, reverse=number % 2 == 0):
                    taken, met = _turn(side, table, suite_file, python)
                    if met != expected:
                        raise SystemExit(f"{side} says that {met} expectations are met, not {expected}")
                    seconds[kind, side].append(taken)
                    print(f"turn {number + 1} of {given.rounds}: {kind}, {side} {taken:.3f} s", file=sys.stderr)
    gx_version = subprocess.run(
        (str(python), "-c", "from importlib.metadata import version as v; print(v('great_expectations'), v('pandas'))"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}"
    print(
        f"{machine}; Python {platform.python_version()}, "
        f"polars {version('polars')}, Great Expectations {gx_version[0]} on pandas {gx_version[1]}."
    )
    print(f"{given.rows} rows × {len(SUITE['expectations'])} expectations, from Parquet to the verdict, without imports;")
    print(f"{given.rounds} turns of each side, alternating; medians (fastest to slowest turn).\n")
    print("| | seconds | mlmesh takes |\n|---|---:|---:|")
    for (kind, side), measured in seconds.items():
        ratio = median(seconds[kind, "mlmesh"]) / median(measured)
        print(f"| {kind}, {side} | {median(measured):.3f} ({min(measured):.3f}–{max(measured):.3f}) | {ratio:.2f}× |")


def _turn(side: str, table: Path, suite_file: Path, python: Path) -> tuple[float, int]:
    """Returns the seconds, and how many expectations are met."""
    if side == "Great Expectations":
        # It draws bars of progress on standard error.
        answer = subprocess.run((str(python), str(_HERE / "gx_worker.py"), str(table), str(suite_file)), capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(answer.stderr)
        told = json.loads(answer.stdout.splitlines()[-1])
        return told["read_s"] + told["validate_s"], told["met"]
    started = time.perf_counter()
    met = _by_hand(table) if side == "query by hand" else _by_suite(table)
    return time.perf_counter() - started, met


def _by_suite(table: Path) -> int:
    return validate(suite_from_json(SUITE), pl.scan_parquet(table)).statistics.successful


def _by_hand(table: Path) -> int:
    """What somebody would write who knows Polars: one query, and a second one for the rows that break a rule."""
    frame = pl.scan_parquet(table)
    delay, distance, carrier, tail = map(pl.col, ("delay", "distance", "carrier", "tail"))
    unexpected = {
        "delay": ~delay.is_between(-100, 100),
        "distance": ~distance.is_between(0, 5000),
        "carrier": ~carrier.is_in(CARRIERS),
        "tail": ~tail.str.contains("^N[0-9]{5}$"),
        "length": tail.str.len_chars() != 6,
    }
    found = (
        frame.select(
            pl.len().alias("rows"),
            pl.col("id").null_count().alias("no_id"),
            delay.null_count().alias("no_delay"),
            delay.mean().alias("mean"),
            distance.max().alias("longest"),
            *(rule.sum().alias(name) for name, rule in unexpected.items()),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    broken = [name for name in unexpected if found[name]]
    if broken:
        pl.collect_all([frame.with_row_index().filter(unexpected[name]).head(20) for name in broken], engine="streaming")
    met = [
        found["rows"] >= 1,
        found["no_id"] == 0,
        found["no_delay"] <= 0.1 * found["rows"],
        -1 <= found["mean"] <= 1,
        1 <= found["longest"] <= 5000,
    ]
    return int(sum(met)) + len(unexpected) - len(broken)


def _gx_python() -> Path:
    python = Path(os.environ.get(_GX_PYTHON) or _HERE.parents[1] / ".venv-great-expectations" / "bin" / "python")
    if not python.exists():
        raise SystemExit(f"{python} does not exist; run `make .venv-great-expectations/.ready`, or name another one with {_GX_PYTHON}")
    has_pyarrow = subprocess.run((str(python), "-c", "import pyarrow"), check=False, stderr=subprocess.DEVNULL).returncode == 0
    if not has_pyarrow:
        subprocess.run((str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "pyarrow"), check=True)
    return python


if __name__ == "__main__":
    main()
