"""`python -m benchmarks.memory`: what a million predictions leave in the memory of each process of a mesh.

h2load makes the load (Debian: nghttp2-client). What a process holds after the first tenth is what it needs; growth from there is a leak.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.serving.load import check_h2load, send
from benchmarks.serving.models import write_models
from benchmarks.serving.processor_time import ProcessTree
from benchmarks.serving.systems.mesh import MESH

_CALLERS = 32
_SECONDS_A_TURN = 10.0
_MIB = 1 << 20


def main() -> None:
    """Loads a mesh until it has answered, prints the memory on the way, and exits with 1 if a process has grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--predictions", type=int, default=1_000_000, help="how many; default a million")
    parser.add_argument("--allowed-mib", type=float, default=8.0, help="growth after the first tenth that counts as none; default 8")
    given = parser.parse_args()
    check_h2load()
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        models = write_models(Path(folder) / "models")
        with MESH.run(models, Path(folder)) as running:
            tree, done = ProcessTree(running.pid), 0
            first: dict[int, float] = {}
            while done < given.predictions:
                for endpoint in running.endpoints:
                    done += send(endpoint.call(models[0], models[0].rows(1)), _CALLERS, _SECONDS_A_TURN).requests
                now = resident_mib(tree)
                if not first and done >= given.predictions / 10:
                    first = now
                print(f"{done:>9,} predictions: " + ", ".join(f"{name} {mib:.0f}" for name, mib in _named(tree, now)) + " MiB", flush=True)
            growth = {pid: mib - first.get(pid, 0.0) for pid, mib in now.items()}
    worst = max(growth.values())
    print(f"largest growth of a process since the first tenth: {worst:.1f} MiB; {given.allowed_mib:g} are allowed")
    if worst > given.allowed_mib:
        sys.exit(1)


def resident_mib(tree: ProcessTree) -> dict[int, float]:
    """Returns what each process holds, by its id, in MiB."""
    return {process.pid: process.memory_info().rss / _MIB for process in tree.processes()}


def _named(tree: ProcessTree, memory: dict[int, float]) -> list[tuple[str, float]]:
    return [(_name(process), memory[process.pid]) for process in tree.processes() if process.pid in memory]


def _name(process: psutil.Process) -> str:
    """The module that it runs, or its program."""
    command = process.cmdline()
    return command[command.index("-m") + 1] if "-m" in command else process.name()


if __name__ == "__main__":
    main()
