"""What is to be reached, and whether it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from benchmarks.serving.measuring import IN_PROCESS, Case, Measured
from benchmarks.serving.systems import bentoml, fastapi, litserve, mesh, mlserver

_BUSY = 32
_BATCH = 32
_REST_PEERS = (
    mlserver.REST_LABEL,
    bentoml.LABEL,
    litserve.LABEL,
    litserve.BATCHING_LABEL,
    fastapi.LABEL,
    fastapi.WORKERS_LABEL,
)
# Two runs of one lone caller differ by that much.
_NOTHING_ADDED = 1.05

Figures = Mapping[Case, Measured]


@dataclass(frozen=True)
class Target:
    """One aim.

    Args:
        what: What is compared.
        aim: What is to be reached, in words.
        found: The ratio found, or None where one of both sides was not measured.
        is_reached: Whether it is reached; None as above.
    """

    what: str
    aim: str
    found: float | None
    is_reached: bool | None


def targets(figures: Figures) -> Iterator[Target]:
    """Judges every aim.

    Args:
        figures: What was measured, medians of the rounds.

    Yields:
        Every aim, also those of which a side was not measured.
    """

    def at_most(limit: float, aim: str, what: str, value: Callable[[Measured], float], ours: Case, theirs: Case) -> Target:
        found = _ratio(figures, value, ours, theirs)
        return Target(what, aim, found, None if found is None else found <= limit)

    def at_least(limit: float, aim: str, what: str, value: Callable[[Measured], float], ours: Case, theirs: Case) -> Target:
        found = _ratio(figures, value, ours, theirs)
        return Target(what, aim, found, None if found is None else found >= limit)

    for limit, aim, ours, theirs in (
        (1 / 8, "≤ 1/8", mesh.GRPC_LABEL, mlserver.GRPC_LABEL),
        (1 / 3, "≤ 1/3", mesh.JSON_LABEL, mlserver.REST_LABEL),
        (0.7, "≤ 0.7", mesh.JSON_LABEL, fastapi.LABEL),
    ):
        for callers in (1, _BUSY):
            what = f"processor time a request, {ours} / {theirs}, concurrency {callers}"
            yield at_most(limit, aim, what, _cpu, _small(ours, callers), _small(theirs, callers))
    for ours, theirs in (
        (mesh.GRPC_LABEL, mlserver.GRPC_LABEL),
        *((mesh.JSON_LABEL, peer) for peer in _REST_PEERS),
    ):
        what = f"requests/s, {ours} / {theirs}, concurrency {_BUSY}"
        yield at_least(5, "≥ 5", what, _per_s, _small(ours, _BUSY), _small(theirs, _BUSY))
    on, off = (Case(label, "mid", 1, _BUSY) for label in (mesh.GRPC_LABEL, mesh.UNBATCHED_LABEL))
    yield at_least(4, "≥ 4", f"requests/s, batching on / off, `mid`, concurrency {_BUSY}", _per_s, on, off)
    yield at_most(1, "< 1", f"mean latency, batching on / off, `mid`, concurrency {_BUSY}", _mean, on, off)
    on, off = (Case(label, "mid", 1, 1) for label in (mesh.GRPC_LABEL, mesh.UNBATCHED_LABEL))
    yield at_most(_NOTHING_ADDED, f"≤ {_NOTHING_ADDED}", "mean latency, batching on / off, `mid`, concurrency 1", _mean, on, off)
    served, bare = (Case(label, "mid", _BATCH, 1) for label in (mesh.GRPC_LABEL, IN_PROCESS))
    for value, name in ((_mean, "mean latency"), (_cpu, "processor time a request")):
        yield at_most(1.5, "≤ 1.5", f"{name}, {mesh.GRPC_LABEL} / ONNX Runtime alone, `mid`, {_BATCH} rows a request", value, served, bare)


def _small(label: str, concurrency: int) -> Case:
    return Case(label, "small", 1, concurrency)


def _ratio(figures: Figures, value: Callable[[Measured], float], ours: Case, theirs: Case) -> float | None:
    return value(figures[ours]) / value(figures[theirs]) if ours in figures and theirs in figures else None


def _cpu(measured: Measured) -> float:
    return measured.cpu_us


def _per_s(measured: Measured) -> float:
    return measured.per_s


def _mean(measured: Measured) -> float:
    return measured.mean_ms
