"""A component of several processes, told of as one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from servers.system.reports import ComponentReport, DependencyReport, Health, overall

_BADNESS = {state: badness for badness, state in enumerate((Health.HEALTHY, Health.DEGRADED, Health.UNAVAILABLE))}


def as_one(workers: Sequence[ComponentReport]) -> ComponentReport:
    """Joins what is known of the processes of a component.

    Args:
        workers: At least one, in the order of their numbers, which begin with 1.

    Returns:
        HEALTHY while all are, UNAVAILABLE while none is available, DEGRADED otherwise, with the numbers of those that are not healthy.
    """
    if len(workers) == 1:
        return workers[0]
    state = overall([worker.state for worker in workers])
    starts = [worker.start_time for worker in workers if worker.start_time is not None]
    return ComponentReport(
        component=workers[0].component,
        version=next((worker.version for worker in workers if worker.version), ""),
        state=state,
        reason=_reason(workers),
        start_time=min(starts, default=None),
        since=_since(workers, state),
        dependencies=_dependencies(workers),
    )


def _reason(workers: Sequence[ComponentReport]) -> str:
    if len({worker.reason for worker in workers}) == 1:
        return workers[0].reason
    return "; ".join(f"worker {number}: {worker.reason}" for number, worker in enumerate(workers, 1) if worker.reason)


def _since(workers: Sequence[ComponentReport], state: Health) -> datetime:
    """The first that fell ill makes the component DEGRADED; the last that recovers makes it HEALTHY, and the last that goes UNAVAILABLE."""
    ill = [worker.since for worker in workers if worker.state is not Health.HEALTHY]
    return min(ill) if state is Health.DEGRADED else max(worker.since for worker in workers)


def _dependencies(workers: Sequence[ComponentReport]) -> tuple[DependencyReport, ...]:
    """What any of them uses, as the one says who finds it worst."""
    worst: dict[str, DependencyReport] = {}
    for dependency in (dependency for worker in workers for dependency in worker.dependencies):
        known = worst.get(dependency.name)
        if known is None or _BADNESS[dependency.state] > _BADNESS[known.state]:
            worst[dependency.name] = dependency
    return tuple(worst[name] for name in sorted(worst))
