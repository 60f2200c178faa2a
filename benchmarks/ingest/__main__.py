"""`python -m benchmarks.ingest`: one run of all sides, turn by turn, from the same file to a new Delta table on the same disk.

dlt is installed into `.venv-dlt`, unless MLMESH_BENCH_DLT_PYTHON names a Python that has it with deltalake.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.ingest.files import write_files

_DLT_PYTHON = "MLMESH_BENCH_DLT_PYTHON"
_HERE = Path(__file__).parent
_SIDES = ("Polars + deltalake", "mlmesh", "dlt")
_FORMATS = ("CSV", "Parquet")


@dataclass(frozen=True)
class Turn:
    """What one side did with one file.

    Args:
        seconds: From the file to the committed table, without imports.
        processor_s: The same in time of processors.
        peak_mib: Memory that came on top of what the imports take, in MiB.
        rows: Rows of the table.
    """

    seconds: float
    processor_s: float
    peak_mib: float
    rows: int


Turns = Mapping[tuple[str, str], list[Turn]]
"""By format and side."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of each file")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; the median counts")
    parser.add_argument("--without-dlt", action="store_true", help="leave dlt out, and do not install it")
    given = parser.parse_args()
    pythons = {side: Path(sys.executable) for side in _SIDES[:2]}
    if not given.without_dlt:
        pythons["dlt"] = _dlt_python()
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        files = write_files(Path(folder), given.rows)
        turns = measure(files, pythons, Path(folder), given.rounds, given.rows)
        sizes = ", ".join(f"{kind} of {path.stat().st_size / 1e6:.0f} MB" for kind, path in files.items())
    print(_machine(pythons))
    print(f"{given.rows} rows × 10 columns; {sizes}.")
    print(f"{given.rounds} turns of each side, alternating, each in a process of its own; medians (slowest to fastest turn).\n")
    print(table(turns, given.rows))


def measure(files: Mapping[str, Path], pythons: Mapping[str, Path], folder: Path, rounds: int, rows: int) -> Turns:
    """Lets every side ingest every file, again and again.

    Args:
        files: Paths by format.
        pythons: Which Python runs each side.
        folder: For tables; each is removed after its turn.
        rounds: How often.
        rows: That have to be in each table.
    """
    turns: defaultdict[tuple[str, str], list[Turn]] = defaultdict(list)
    for number in range(rounds):
        for kind in _FORMATS:
            for side in sorted(pythons, key=_SIDES.index, reverse=number % 2 == 0):
                turn = _turn(pythons[side], side, files[kind], folder / "table")
                if turn.rows != rows:
                    raise SystemExit(f"{side} made {turn.rows} rows of {rows} in {kind}")
                turns[kind, side].append(turn)
                print(f"turn {number + 1} of {rounds}: {kind} {side} {turn.seconds:.2f} s", file=sys.stderr)
    return turns


def _turn(python: Path, side: str, file: Path, folder: Path) -> Turn:
    # What the turn before has left to write is not for this one to pay.
    os.sync()
    folder.mkdir()
    command = (str(python), str(_HERE / "worker.py"), side, str(file), str(folder))
    try:
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": _path(side)})
        return Turn(**json.loads(answer.stdout.splitlines()[-1]))
    finally:
        shutil.rmtree(folder)


def _path(side: str) -> str:
    """Nothing of ours for dlt, which has a venv of its own."""
    return os.pathsep.join(["", *sys.path]) if side == "mlmesh" else ""


def table(turns: Turns, rows: int) -> str:
    """The results in Markdown."""
    lines = ["| | rows/s | of Polars + deltalake | processor time, s | memory added, MiB |", "|---|---:|---:|---:|---:|"]
    for (kind, side), measured in sorted(turns.items(), key=lambda item: (item[0][0], _SIDES.index(item[0][1]))):
        rates = [rows / turn.seconds for turn in measured]
        peer = median(rows / turn.seconds for turn in turns[kind, _SIDES[0]])
        lines.append(
            f"| {kind}, {side} | {median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {median(rates) / peer:.2f}× "
            f"| {median(turn.processor_s for turn in measured):.2f} | {max(turn.peak_mib for turn in measured):,.0f} |"
        )
    return "\n".join(lines)


def _machine(pythons: Mapping[str, Path]) -> str:
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((f"{int(line.split()[1]) / 2**20:.0f} GiB" for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "?")
    libraries = [f"{name} {version(name)}" for name in ("polars", "deltalake", "pyarrow", "mlmesh")]
    if "dlt" in pythons:
        script = 'from importlib.metadata import version as v; print(f\'dlt {v("dlt")} with deltalake {v("deltalake")}\')'
        libraries.append(subprocess.run((str(pythons["dlt"]), "-c", script), capture_output=True, text=True, check=True).stdout.strip())
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {', '.join(libraries)}."
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).exists() else []


def _dlt_python() -> Path:
    if given := os.environ.get(_DLT_PYTHON):
        return Path(given)
    folder = Path(".venv-dlt").absolute()
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)
        subprocess.run((str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "dlt[deltalake]"), check=True)
        (folder / ".ready").touch()
    return python


if __name__ == "__main__":
    main()
