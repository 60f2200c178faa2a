"""`python -m benchmarks.registry`: one run of both sides, turn by turn, on the same database kind and the same disk.

The newest MLflow is installed into `.venv-mlflow`, unless MLMESH_BENCH_MLFLOW_PYTHON names a Python that has one.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.registry.workers import Worker, mesh, mlflow_server, worker

_MLFLOW_PYTHON = "MLMESH_BENCH_MLFLOW_PYTHON"
_HERE = Path(__file__).parent
_SIDES = ("MLflow", "mlmesh")
_CALLERS = 8


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        rounds: Turns of each side; the median counts.
        versions: Versions created in each turn.
        size_mb: Size of the file saved and loaded in each turn, in megabytes of 10⁶ bytes.
        cold: Whether transfers take memory as the machine gives it, instead of memory that was in use a moment ago.
    """

    rounds: int
    versions: int
    size_mb: int
    cold: bool


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; the median counts")
    parser.add_argument("--versions", type=int, default=100, help="versions created in each turn")
    parser.add_argument("--size-mb", type=int, default=100, help="size of the file, in MB")
    parser.add_argument("--cold", action="store_true", help="do not warm the memory before each transfer")
    plan = Plan(**vars(parser.parse_args()))
    python = _mlflow_python()
    with tempfile.TemporaryDirectory(prefix="bench-registry-") as folder:
        rows = {"served": _served(plan, python, Path(folder)), "library": _library(plan, python, Path(folder))}
    print(_machine(python))
    print(f"{plan.rounds} turns of each side, alternating; medians (slowest to fastest turn).\n")
    print(_table(rows, plan))


def _served(plan: Plan, python: Path, folder: Path) -> Mapping[str, Mapping[str, list[float]]]:
    with ExitStack() as stack:
        url, token = stack.enter_context(mesh(folder / "mesh"))
        mlflow_url = stack.enter_context(mlflow_server(python, folder / "mlflow"))
        callers = {
            "MLflow": stack.enter_context(worker((str(python), str(_HERE / "mlflow_worker.py"), mlflow_url, ""))),
            "mlmesh": stack.enter_context(worker(_mesh_worker("served", url), {"MLMESH_TOKEN": token})),
        }
        return _measure(plan, callers, folder / "served")


def _library(plan: Plan, python: Path, folder: Path) -> Mapping[str, Mapping[str, list[float]]]:
    database, artifacts = f"sqlite:///{folder}/library.db", (folder / "artifacts").as_uri()
    with ExitStack() as stack:
        callers = {
            "MLflow": stack.enter_context(worker((str(python), str(_HERE / "mlflow_worker.py"), database, artifacts))),
            "mlmesh": stack.enter_context(worker(_mesh_worker("library", str(folder / "registry")))),
        }
        return _measure(plan, callers, folder / "library")


def _mesh_worker(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.registry.mesh_worker", *arguments)


def _measure(plan: Plan, callers: Mapping[str, Worker], folder: Path) -> Mapping[str, Mapping[str, list[float]]]:
    """Returns the rate of each turn, by what was done and by side."""
    folder.mkdir()
    small = folder / "weights"
    small.write_bytes(b"weights")
    callers["mlmesh"].seconds("prepare", str(small))
    rates: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for side in callers:
        # Connections, imports on first use, and caches.
        callers[side].seconds("versions", 20, _CALLERS)
        _transfer(callers[side], folder / f"{side}-first", 1, lambda *_: None)
    for turn in range(plan.rounds):
        for side in _SIDES if turn % 2 else reversed(_SIDES):
            for count in (1, _CALLERS):
                rates[f"versions/s, {count} at once"][side].append(plan.versions / callers[side].seconds("versions", plan.versions, count))

            def note(what: str, rate: float, side: str = side) -> None:
                rates[what][side].append(rate)

            if not plan.cold:
                _warm_memory(folder, plan.size_mb)
            _transfer(callers[side], folder / f"{side}-{turn}", plan.size_mb, note)
        latest = ", ".join(f"{what} {side} {found[-1]:.0f}" for what, sides in rates.items() for side, found in sides.items())
        print(f"{folder.name}: turn {turn + 1} of {plan.rounds}: {latest}", file=sys.stderr)
    return rates


def _transfer(caller: Worker, folder: Path, size_mb: int, note: Callable[[str, float], None]) -> None:
    source, target = Path(f"{folder}.bin"), folder
    # New content each time: mlmesh would not send again what it has.
    with source.open("wb") as file:
        for _ in range(size_mb):
            file.write(os.urandom(1_000_000))
        os.fsync(file.fileno())
    note("save MB/s", size_mb / caller.seconds("save", str(source)))
    note("load MB/s", size_mb / caller.seconds("load", str(target)))
    loaded = [path for path in target.rglob("*") if path.is_file()]
    # mlmesh's library keeps a description of the format beside the file.
    if [path.read_bytes() for path in loaded if path.name == source.name] != [source.read_bytes()]:
        raise SystemExit(f"what came back is not what was saved: {loaded}")
    for path in (*loaded, source):
        path.unlink()


def _table(rows: Mapping[str, Mapping[str, Mapping[str, list[float]]]], plan: Plan) -> str:
    lines = ["| | MLflow | mlmesh | ratio |", "|---|---:|---:|---:|"]
    for kind, measured in rows.items():
        for what, sides in measured.items():
            theirs, ours = sides["MLflow"], sides["mlmesh"]
            label = f"{kind}, {what}" + (f", {plan.size_mb} MB" if "MB/s" in what else "")
            lines.append(f"| {label} | {_spread(theirs)} | {_spread(ours)} | {median(ours) / median(theirs):.1f}× |")
    return "\n".join(lines)


def _spread(rates: list[float]) -> str:
    return f"{median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f})"


def _warm_memory(folder: Path, size_mb: int) -> None:
    """Leaves memory free that was in use a moment ago.

    A virtual machine may get a page of memory when it first touches it, and give it back soon after it is free. That costs ten times the
    copy (0.3 GB/s here), would be most of what is measured, and hits whichever side needs a new page.
    """
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for _ in range(5 * size_mb):
            file.write(bytes(1_000_000))
    filler.unlink()


def _machine(python: Path) -> str:
    theirs = subprocess.run(
        (str(python), "-c", "import mlflow.version; print(mlflow.version.VERSION)"), capture_output=True, text=True, check=True
    )
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((f"{int(line.split()[1]) / 2**20:.0f} GiB" for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "?")
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, MLflow {theirs.stdout.strip()}, mlmesh {version('mlmesh')}; both on SQLite and local files."
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).exists() else []


def _mlflow_python() -> Path:
    if given := os.environ.get(_MLFLOW_PYTHON):
        return Path(given)
    folder = Path(".venv-mlflow").absolute()
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run((sys.executable, "-m", "venv", str(folder)), check=True)
        subprocess.run((str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "mlflow"), check=True)
        (folder / ".ready").touch()
    return python


if __name__ == "__main__":
    main()
