"""The tables that are printed, in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import onnxruntime

from benchmarks.serving.measuring import Case, Measured
from benchmarks.serving.targets import Target, targets


def report(rounds: Mapping[Case, Sequence[Measured]], head: Iterable[str]) -> str:
    """Writes everything.

    Args:
        rounds: What was measured in each round.
        head: Sentences about the run: the machine, versions, what was done.

    Returns:
        Markdown.
    """
    figures = {case: _median(measured) for case, measured in rounds.items()}
    return "\n\n".join((*head, _table(rounds, figures), _target_table(targets(figures)))) + "\n"


def machine() -> str:
    """Says what this machine is, and how busy."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((f"{int(line.split()[1]) / 2**20:.0f} GiB" for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "?")
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}"
    return f"{cpu}, {os.cpu_count()} cores, {memory}, load {os.getloadavg()[0]:.1f} at the start; {system}"


def _table(rounds: Mapping[Case, Sequence[Measured]], figures: Mapping[Case, Measured]) -> str:
    lines = [
        "| model | rows a request | concurrency | system | requests/s | mean ms | p50 ms | p99 ms | CPU µs a request |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    order = {case: number for number, case in enumerate(rounds)}
    for case in sorted(rounds, key=lambda case: (case.rows, case.model != "small", case.concurrency, order[case])):
        found, each = figures[case], rounds[case]
        per_s, cpu = _spread([one.per_s for one in each]), _spread([one.cpu_us for one in each])
        times = " | ".join(f"{value:.2f}" for value in (found.mean_ms, found.p50_ms, found.p99_ms))
        lines.append(f"| `{case.model}` | {case.rows} | {case.concurrency} | {case.label} | {per_s} | {times} | {cpu} |")
    return "\n".join(lines)


def _target_table(found: Iterable[Target]) -> str:
    lines = ["| to reach | aim | found | |", "|---|---:|---:|---|"]
    for target in found:
        ratio = "–" if target.found is None else f"{target.found:.3f}" if target.found < 1 else f"{target.found:.2f}"
        verdict = {None: "not measured", True: "reached", False: "**not reached**"}[target.is_reached]
        lines.append(f"| {target.what} | {target.aim} | {ratio} | {verdict} |")
    return "\n".join(lines)


def _median(measured: Sequence[Measured]) -> Measured:
    columns = zip(*((one.per_s, one.mean_ms, one.p50_ms, one.p99_ms, one.cpu_us) for one in measured), strict=True)
    return Measured(*(median(column) for column in columns))


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8").splitlines() if Path(path).exists() else []
