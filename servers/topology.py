"""Which components share a process, and where each of them listens: the one table of the mesh.

To move a component into a process of its own, give it a row in `mesh_processes`. Nothing else knows.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers.runtime.cores import envoy_workers
from servers.runtime.processes import GrpcProbe, HttpProbe, Process

_MAX_SOCKET_PATH_BYTES = 100  # sun_path is 108 bytes on Linux and 104 on macOS, with a terminator


@dataclass(frozen=True)
class Component:
    """One component of the platform.

    Args:
        name: Name, lower case.
        service: Full name of its gRPC service.
        module: Module that runs it alone, `python -m <module>`.
    """

    name: str
    service: str
    module: str


COMPONENTS = (
    Component("users", "mlops.users.v1.UserService", "servers.users"),
    Component("registry", "mlops.registry.v1.ModelRegistryService", "servers.registry"),
    Component("ingestion", "mlops.ingestion.v1.DataIngestionService", "servers.ingestion"),
    Component("processing", "mlops.processing.v1.DataProcessingService", "servers.processing"),
    Component("features", "mlops.features.v1.FeatureStoreService", "servers.features"),
    Component("serving", "mlops.serving.v1.ModelServingService", "servers.serving"),
    Component("system", "mlops.system.v1.SystemMonitorService", "servers.system"),
)
"""Every component that is a gRPC server."""


CONTROL = ("users", "registry", "ingestion", "processing", "features", "system")
"""The components that share the control process, in the order in which they start."""

_SERVICES = {component.name: component.service for component in COMPONENTS}
_MOST_SERVING_WORKERS = 64


@dataclass(frozen=True)
class Place:
    """Where a mesh keeps its files.

    Args:
        data_dir: Everything that lasts. Absolute.
        run_dir: Unix sockets and what is made anew at each start. Absolute.
    """

    data_dir: Path
    run_dir: Path

    @classmethod
    def of(cls, data_dir: Path) -> Place:
        """Returns the place of a data directory: `<data_dir>/run`, or a short folder where that is too long for a socket's path."""
        data_dir = data_dir.expanduser().resolve()
        longest = max(
            (*(f"{component.name}-admin.sock" for component in COMPONENTS), f"serving-{_MOST_SERVING_WORKERS}-lane.sock"), key=len
        )
        if len(str(data_dir / "run" / longest).encode()) <= _MAX_SOCKET_PATH_BYTES:
            return cls(data_dir, data_dir / "run")
        name = hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
        return cls(data_dir, Path(tempfile.gettempdir()).resolve() / f"mlmesh-{name}")

    @property
    def log_dir(self) -> Path:
        """Folder with one log a process."""
        return self.data_dir / "logs"

    @property
    def service_key_file(self) -> Path:
        """API key of the mesh's service account, written by users on its first start."""
        return self.data_dir / "secrets" / "mesh.key"

    @property
    def first_password_file(self) -> Path:
        """Generated password of the admin, written by users on its first start, removed by whoever has shown it."""
        return self.data_dir / "secrets" / "initial-admin-password"

    def socket(self, name: str) -> Path:
        """Returns the path of a Unix socket."""
        return self.run_dir / f"{name}.sock"

    def address(self, component: str) -> str:
        """Returns the gRPC target of a component."""
        return f"unix:{self.socket(component)}"


def mesh_processes(place: Place, host: str, port: int) -> tuple[Process, ...]:
    """Returns the processes of `mlmesh up`.

    Args:
        place: Where the mesh keeps its files.
        host: Address on which Envoy serves the public.
        port: Port on which Envoy serves the public.

    Servers wait for each other by themselves (a key that is not there yet is asked for again), so they start in parallel. Only
    Envoy waits, for the control plane that writes its bootstrap.
    """
    return (
        Process(
            "control",
            (sys.executable, "-P", "-m", "servers.control"),
            components=CONTROL,
            probes=_ready(place, *CONTROL),
        ),
        *_serving_processes(place),
        Process(
            "gateway",
            (sys.executable, "-P", "-m", "gateway"),
            components=("gateway",),
            probes=(GrpcProbe(place.socket("gateway")),),
            needs=("control",),
        ),
        Process(
            "envoy",
            (
                *(_program("envoy"), "--config-path", str(place.run_dir / "envoy.json"), "--log-level", "warning"),
                # Two meshes on one machine must not take each other for a predecessor to take over from.
                *("--disable-hot-restart", "--concurrency", os.environ.get("MLMESH_GATEWAY_ENVOY_WORKERS") or str(envoy_workers())),
                # An access log that is ten seconds late is of no use to somebody who waits for a line.
                *("--file-flush-interval-msec", "500", "--skip-deprecated-logs"),
                # What the drain command asks for takes effect at once; the time is only when Envoy would give up by itself.
                *("--drain-strategy", "immediate", "--drain-time-s", "30"),
            ),
            # Envoy is LIVE also where its listener was refused, for example because somebody else has taken the port meanwhile.
            probes=(
                HttpProbe(place.socket("envoy-admin"), "/ready"),
                HttpProbe(place.socket("envoy-admin"), "/listeners", expected=f"{f'[{host}]' if ':' in host else host}:{port}"),
            ),
            starts_after=("gateway",),
            needs=("control", "gateway", *_serving_names()),
            drain_command=(sys.executable, "-P", "-m", "gateway.drain"),
        ),
    )


def mesh_environment(place: Place, host: str, port: int) -> dict[str, str]:
    """Returns the settings by which every process of the mesh finds the others.

    Args:
        place: Where the mesh keeps its files.
        host: Address on which Envoy serves the public.
        port: Port on which Envoy serves the public.
    """
    environment = {
        "MLMESH_DATA_DIR": str(place.data_dir),
        "MLMESH_RUN_DIR": str(place.run_dir),
        "MLMESH_SERVICE_KEY_FILE": str(place.service_key_file),
        "MLMESH_HOST": host,
        "MLMESH_PORT": str(port),
        "MLMESH_GATEWAY_LISTEN": place.address("gateway"),
        "MLMESH_GATEWAY_ADDRESS": place.address("gateway"),
    }
    for component in COMPONENTS:
        environment[f"MLMESH_{component.name.upper()}_LISTEN"] = place.address(component.name)
        environment[f"MLMESH_{component.name.upper()}_ADDRESS"] = place.address(component.name)
        environment[f"MLMESH_{component.name.upper()}_LANE"] = place.address(f"{component.name}-lane")
    names = _serving_names()
    # What the gateway reads; each process of serving has its own lane in its own environment.
    environment["MLMESH_SERVING_LANE"] = ",".join(place.address(f"{name}-lane") for name in names)
    environment["MLMESH_SERVING_WORKER_ADDRESSES"] = json.dumps([place.address(name) for name in names[1:]])
    return environment


def serving_worker_count() -> int:
    """Returns how many processes predict, as the environment says: a second one answers while the first is restarted.

    Raises:
        ValueError: It says something that is no such number.
    """
    text = os.environ.get("MLMESH_SERVING_WORKERS") or "2"
    if not (text.isdecimal() and 1 <= int(text) <= _MOST_SERVING_WORKERS):
        raise ValueError(f"MLMESH_SERVING_WORKERS is a number of processes, 1 to {_MOST_SERVING_WORKERS}; got {text!r}")
    return int(text)


def _serving_names() -> tuple[str, ...]:
    """The processes that predict. Only the first is asked to manage models."""
    return ("serving", *(f"serving-{number}" for number in range(2, serving_worker_count() + 1)))


def _serving_processes(place: Place) -> Iterator[Process]:
    for number, name in enumerate(_serving_names(), 1):
        is_first = number == 1
        environment = {"MLMESH_SERVING_LANE": place.address(f"{name}-lane"), "MLMESH_SERVING_WORKER": str(number)}
        yield Process(
            name,
            (sys.executable, "-P", "-m", "servers.serving"),
            components=("serving",) if is_first else (),
            probes=(GrpcProbe(place.socket(name), _SERVICES["serving"]),),
            needs=("control",),
            environment=environment if is_first else {**environment, "MLMESH_SERVING_LISTEN": place.address(name)},
        )


def _ready(place: Place, *components: str) -> tuple[GrpcProbe, ...]:
    return tuple(GrpcProbe(place.socket(name), _SERVICES[name]) for name in components)


def _program(name: str) -> str:
    """Path of a program that was installed beside the interpreter, or is on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name
