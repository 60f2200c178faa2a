"""`python -m benchmarks.serving`: every system serves the same ONNX files; they are measured in turn, in rounds; the median counts.

Peers are installed on the first run, into venvs of their own below `.cache`. h2load makes the load (Debian: nghttp2-client); its own
processor time is not counted, that of every process of a system is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.load import check_h2load
from benchmarks.serving.measuring import Case, InProcessSubject, Measured, ServedSubject, Subject
from benchmarks.serving.models import Model, write_models
from benchmarks.serving.processor_time import ProcessTree
from benchmarks.serving.report import machine, report
from benchmarks.serving.systems.bentoml import BENTOML
from benchmarks.serving.systems.fastapi import FASTAPI, FASTAPI_WORKERS
from benchmarks.serving.systems.litserve import LITSERVE, LITSERVE_BATCHING
from benchmarks.serving.systems.mesh import GRPC_LABEL, MESH, UNBATCHED_MESH
from benchmarks.serving.systems.mlserver import MLSERVER
from benchmarks.serving.systems.system import Running, System

_SYSTEMS = {
    system.name: system for system in (MESH, UNBATCHED_MESH, MLSERVER, BENTOML, LITSERVE, LITSERVE_BATCHING, FASTAPI, FASTAPI_WORKERS)
}
_BATCH = 32
_IDLE_S = 4.0


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Args:
        systems: Which systems.
        seconds: How long each case is measured in each round.
        concurrency: How many callers, one after the other.
        rounds: Rounds; the median counts.
        output: File that gets the report too, or None.
    """

    systems: tuple[System, ...]
    seconds: float
    concurrency: tuple[int, ...]
    rounds: int
    output: Path | None


def main() -> None:
    """Measures and prints."""
    plan = _plan()
    h2load, this_machine = check_h2load(), machine()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder, ExitStack() as stack:
        models = write_models(Path(folder) / "models")
        running = {system: stack.enter_context(_started(system, models, Path(folder))) for system in plan.systems}
        trees = {system: ProcessTree(one.pid) for system, one in running.items()}
        idle = _idle_percent(trees)
        for system, tree in trees.items():
            if system.is_paused:
                stack.enter_context(tree.paused())
        rounds = _measure(plan, _subjects(plan, models, running, trees))
    versions = "; ".join(one.versions for one in running.values() if one.versions)
    head = (
        f"{this_machine}. {versions}. Load: {h2load}.",
        f"{plan.rounds} rounds of {plan.seconds:g} s a case, all systems in turn; medians (lowest–highest round). "
        f"Idle servers take, in % of a core: {idle}; peers are paused while another is measured.",
    )
    text = report(rounds, head)
    print(text)
    if plan.output is not None:
        plan.output.write_text(text, "utf-8")


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=tuple(_SYSTEMS), default=tuple(_SYSTEMS), help="which systems; default all")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each case is measured in each round")
    parser.add_argument("--concurrency", nargs="+", type=int, default=(1, 32), help="callers; the aims need 1 and 32")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--output", type=Path, help="file that gets the report too")
    given = parser.parse_args()
    systems = tuple(_SYSTEMS[name] for name in dict.fromkeys(given.systems))
    return Plan(systems, given.seconds, tuple(given.concurrency), given.rounds, given.output)


def _started(system: System, models: Sequence[Model], folder: Path) -> AbstractContextManager[Running]:
    print(f"starting {system.name}", file=sys.stderr)
    own = folder / system.name
    own.mkdir()
    return system.run(models, own)


def _subjects(
    plan: Plan, models: Sequence[Model], running: Mapping[System, Running], trees: Mapping[System, ProcessTree]
) -> Iterator[list[Subject]]:
    """Gives what is compared with each other, and so measured right after each other."""
    for model in models:
        for concurrency in plan.concurrency:
            alone = [InProcessSubject(model, 1)] if concurrency == 1 else []
            yield alone + [
                ServedSubject(endpoint, trees[system], system.is_paused, model, 1, concurrency)
                for system, one in running.items()
                if not system.model_names or model.name in system.model_names
                for endpoint in one.endpoints
            ]
    mid = models[-1]
    yield [
        InProcessSubject(mid, _BATCH),
        *(
            ServedSubject(endpoint, trees[MESH], MESH.is_paused, mid, _BATCH, 1)
            for endpoint in (running[MESH].endpoints if MESH in running else ())
            if endpoint.label == GRPC_LABEL
        ),
    ]


def _measure(plan: Plan, groups: Iterable[list[Subject]]) -> Mapping[Case, Sequence[Measured]]:
    found: defaultdict[Case, list[Measured]] = defaultdict(list)
    groups = list(groups)
    for subject in (subject for group in groups for subject in group):
        print(f"checking {subject.case}", file=sys.stderr)
        subject.check()
        # The order of the report.
        found[subject.case] = []
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds}", file=sys.stderr)
        for subject in (subject for group in groups for subject in (reversed(group) if number % 2 else group)):
            measured = subject.measure(plan.seconds)
            found[subject.case].append(measured)
            print(f"{subject.case}: {measured}", file=sys.stderr)
    return found


def _idle_percent(trees: Mapping[System, ProcessTree]) -> str:
    """Says how much of a core each system takes while nobody calls it."""
    # What a start leaves to do is done by then.
    time.sleep(_IDLE_S)
    before = {system: tree.seconds() for system, tree in trees.items()}
    time.sleep(_IDLE_S)
    return ", ".join(f"{system.name} {100 * (tree.seconds() - before[system]) / _IDLE_S:.0f}" for system, tree in trees.items())


if __name__ == "__main__":
    main()
