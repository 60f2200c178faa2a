"""What `mlmesh status` shows: the processes of a mesh and the components in them."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from rich.markup import escape
from rich.table import Table

from mlmesh.cli.output import coloured, console, human_size
from mlmesh.local_mesh import MeshState

_TIMEOUT_S = 5.0
_PREFIX = "HEALTH_STATE_"


@dataclass(frozen=True)
class HealthView:
    """How a mesh is.

    Args:
        state: What the supervisor knows.
        health: Answer of `GET /api/v1/health`; empty where there is none.
        why_no_health: Why there is none.
        memory_bytes: Memory of each process by name, shared pages divided among those who share them.
    """

    state: MeshState
    health: dict[str, Any]
    why_no_health: str
    memory_bytes: dict[str, int]

    @property
    def is_healthy(self) -> bool:
        """Whether every process and every component is healthy."""
        return all(process.state == "healthy" for process in self.state.processes) and self.overall == "healthy"

    @property
    def overall(self) -> str:
        """State of the mesh as it says itself."""
        return _word(self.health.get("state", "UNAVAILABLE"))

    def as_json(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        return {
            "state": self.overall,
            "url": self.state.url,
            "supervisor_pid": self.state.supervisor_pid,
            "processes": [{**asdict(one), "memory_bytes": self.memory_bytes.get(one.name)} for one in self.state.processes],
            "components": self.health.get("components", []),
        }


def look(state: MeshState) -> HealthView:
    """Asks a mesh how it is."""
    health, why_not = _ask(f"{state.url}/api/v1/health")
    pids = {process.name: process.pid for process in state.processes} | {"supervisor": state.supervisor_pid}
    memory = {name: _memory_bytes(pid) for name, pid in pids.items() if pid is not None}
    return HealthView(state, health, why_not, memory)


def show(view: HealthView) -> None:
    """Prints it for people."""
    out = console()
    out.print(f"{coloured(view.overall)} at {view.state.url}, {human_size(sum(view.memory_bytes.values()))} of memory\n")
    processes = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("PROCESS", "STATE", "PID", "MEMORY", "RESTARTS", "LAST EXIT"):
        processes.add_column(column)
    for one in view.state.processes:
        memory = human_size(view.memory_bytes[one.name]) if one.name in view.memory_bytes else "-"
        processes.add_row(one.name, coloured(one.state), str(one.pid or "-"), memory, str(one.restarts), escape(one.last_exit) or "-")
    out.print(processes)
    out.print()
    if view.why_no_health:
        out.print(f"[red]components unknown:[/] {escape(view.why_no_health)}")
        return
    show_components(view.health)


def show_components(health: dict[str, Any]) -> None:
    """Prints the components of an answer of `GET /api/v1/health`."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("COMPONENT", "STATE", "VERSION", "SINCE", "DEPENDENCIES", "REASON"):
        table.add_column(column)
    for component in health.get("components", []):
        needs = ", ".join(f"{one['name']} {coloured(_word(one['state']))}" for one in component.get("dependencies", []))
        since = str(component.get("since_time") or "")[:19].replace("T", " ")
        state = coloured(_word(component.get("state", "")))
        table.add_row(component["component"], state, component.get("version", ""), since, needs or "-", escape(component.get("reason", "")))
    console().print(table)


def _ask(url: str) -> tuple[dict[str, Any], str]:
    try:
        # Opened directly: a proxy of the environment is no way to a port of this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=_TIMEOUT_S) as answer:
            health = json.load(answer)
    except (OSError, ValueError) as error:
        return {}, f"{url}: {error}"
    return (health, "") if isinstance(health, dict) else ({}, f"{url} answered something else")


def _memory_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0


def _word(state: str) -> str:
    return state.removeprefix(_PREFIX).lower()
