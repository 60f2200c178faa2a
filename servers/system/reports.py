"""What is told of components, and of the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Health(Enum):
    """How a component, a dependency or the mesh is."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class DependencyReport:
    """How one thing is that a component uses.

    Args:
        name: Its name.
        state: How it is.
        reason: Why it is not healthy; empty while it is.
        since: When it entered that state.
        latency_ms: How long the component's last look at it took, in milliseconds.
    """

    name: str
    state: Health
    reason: str
    since: datetime
    latency_ms: float


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """How one component is.

    Args:
        component: Its name.
        version: Version of its software; empty where it never answered.
        state: How it is.
        reason: Why it is not healthy; empty while it is.
        start_time: When its process started; None where it never answered.
        since: When it entered that state.
        dependencies: What it uses.
    """

    component: str
    version: str
    state: Health
    reason: str
    start_time: datetime | None
    since: datetime
    dependencies: tuple[DependencyReport, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshReport:
    """How the mesh is.

    Args:
        state: All in all.
        checked_at: When the components were asked.
        components: Each of them, by name.
    """

    state: Health
    checked_at: datetime
    components: tuple[ComponentReport, ...]


def overall(states: Sequence[Health]) -> Health:
    """HEALTHY while every component is, UNAVAILABLE while none is available, DEGRADED otherwise."""
    if all(state is Health.HEALTHY for state in states):
        return Health.HEALTHY
    return Health.UNAVAILABLE if all(state is Health.UNAVAILABLE for state in states) else Health.DEGRADED
