"""What a supervisor has to know of a process: how to start it, how to see that it is ready, and whom it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class GrpcProbe:
    """Ready while the gRPC health service on a Unix socket says SERVING.

    Args:
        socket: Path of the Unix socket.
        service: Full name of the service whose readiness counts; empty asks only whether the server is alive.
    """

    socket: Path
    service: str = ""


@dataclass(frozen=True)
class HttpProbe:
    """Ready while a GET is answered with a status below 400, and with a text.

    Args:
        socket: Unix socket of the HTTP server.
        path: Path to get.
        expected: What the answer has to contain.
    """

    socket: Path
    path: str
    expected: str = ""


@dataclass(frozen=True)
class Process:
    """One process of the mesh.

    Args:
        name: Name, as `mlmesh logs` and `mlmesh status` show it.
        command: Program and its arguments.
        components: Components that live in it.
        probes: It is healthy while all of these are.
        starts_after: Processes that have to be healthy before this one is started.
        needs: Processes that this one calls. They are stopped after it.
        drain_command: Program that takes traffic away from it before it is stopped; empty = none.
        environment: Settings of its own, which go before those of the mesh.
    """

    name: str
    command: tuple[str, ...]
    components: tuple[str, ...] = ()
    probes: tuple[GrpcProbe | HttpProbe, ...] = ()
    starts_after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    drain_command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def check_table(processes: Sequence[Process]) -> None:
    """Refuses a table whose names are not unique, unknown, or whose dependencies form a circle.

    Raises:
        ValueError: The table is wrong; the message names the process.
    """
    known = {process.name: process for process in processes}
    if len(known) != len(processes):
        raise ValueError("two processes have the same name")
    for process in processes:
        for other in (*process.starts_after, *process.needs):
            if other not in known:
                raise ValueError(f"{process.name} depends on {other}, which is not in the table: {', '.join(known)}")
    done: set[str] = set()
    while len(done) < len(known):
        free = {name for name, process in known.items() if name not in done and done.issuperset((*process.starts_after, *process.needs))}
        if not free:
            raise ValueError(f"processes depend on each other in a circle: {', '.join(sorted(set(known) - done))}")
        done |= free
