"""Settings of the system monitor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from servers.runtime.settings import ServerSettings
from servers.topology import COMPONENTS


class SystemSettings(ServerSettings):
    """Settings of the system monitor; each also as `MLMESH_SYSTEM_<FIELD>`."""

    component: ClassVar[str] = "system"

    listen: str = "127.0.0.1:9111"
    """Address to serve on: `host:port` (port 0 = any free one) or `unix:/absolute/path.sock` (at most 100 bytes of path)."""

    component_addresses: dict[str, str] = Field(default_factory=dict)
    """GRPC target of each component by name, as JSON. Empty = `MLMESH_<COMPONENT>_ADDRESS` of every component that has one."""

    worker_addresses: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """GRPC targets of the workers 2, 3, … of components that have several, by name, as JSON; `component_addresses` has the first of each.
    Empty, like that = `MLMESH_<COMPONENT>_WORKER_ADDRESSES`, each a JSON list."""

    envoy_admin_socket: Path | None = None
    """Unix socket of the admin interface of an Envoy whose metrics no component gives. The gateway gives those of its own."""

    component_timeout_s: float = Field(default=1.0, gt=0, le=60)
    """Longest time for a component to say how it is, in seconds; after it the component counts as unavailable."""

    metrics_timeout_s: float = Field(default=3.0, gt=0, le=60)
    """Longest time for a component, or Envoy, to give its metrics, in seconds; after it they are missing from the answer."""

    max_metrics_bytes: int = Field(default=32 * 1024**2, ge=1024)
    """Most metrics text that is taken from one component or Envoy, in bytes."""

    health_cache_s: float = Field(default=1.0, ge=0, le=60)
    """How long an answer about the mesh's health is given again, in seconds: anyone may ask, and asking costs every component a call."""

    @model_validator(mode="before")
    @classmethod
    def _find_components(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        found = dict(values)
        if not found.get("component_addresses"):
            names = (*(component.name for component in COMPONENTS), "gateway")
            addresses = {name: os.environ.get(f"MLMESH_{name.upper()}_ADDRESS", "") for name in names}
            found["component_addresses"] = {name: address for name, address in addresses.items() if address}
            workers = {name: _targets(f"MLMESH_{name.upper()}_WORKER_ADDRESSES") for name in names}
            found["worker_addresses"] = found.get("worker_addresses") or {name: others for name, others in workers.items() if others}
        return found


def _targets(variable: str) -> list[str]:
    """Reads a variable with a JSON list of gRPC targets; none where it is not set.

    Raises:
        ValueError: If it has something else.
    """
    try:
        targets = json.loads(os.environ.get(variable) or "[]")
    except json.JSONDecodeError:
        targets = None
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise ValueError(f'{variable} has to be a JSON list of gRPC targets, for example ["unix:/run/serving-2.sock"]')
    return targets
