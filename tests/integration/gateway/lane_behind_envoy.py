"""The contract `mlops.lanetest.v1` behind a real Envoy, reached over gRPC's own server and the transcoder, or over the lane."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gateway.configuration import Mesh
from gateway.topology import UnixEndpoint, Upstream
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, short_folder
from tests.integration.runtime.lane_contract import SERVICE, descriptors
from tests.integration.runtime.lane_server import LaneServer, lane_server

COMPONENT = "lanetest"


class LaneBehindEnvoy:
    """A gateway and a server with both listeners.

    Args:
        gateway: The gateway.
        backend: The server.
    """

    def __init__(self, gateway: GatewayUnderTest, backend: LaneServer) -> None:
        self.gateway = gateway
        self.backend = backend

    @property
    def servicer(self) -> Any:
        return self.backend.servicer

    def use(self, way: str) -> None:
        """Sends all calls one way: `grpcio` or `lane`."""
        self.gateway.publish(mesh_by(way, self.gateway, self.backend))


def mesh_by(way: str, gateway: GatewayUnderTest, *backends: LaneServer) -> Mesh:
    endpoints = tuple(UnixEndpoint(backend.server.address.removeprefix("unix:")) for backend in backends)
    lanes = tuple(UnixEndpoint(str(backend.path)) for backend in backends) if way == "lane" else ()
    return replace(gateway.mesh, upstreams={**gateway.mesh.upstreams, COMPONENT: Upstream(COMPONENT, endpoints, SERVICE, lanes)})


@contextlib.contextmanager
def lane_behind_envoy(**settings: Any) -> Iterator[LaneBehindEnvoy]:
    given = {"max_message_bytes": 16 << 20} | settings
    with short_folder() as folder, lane_server(**given) as backend:
        contracts = folder / "contracts.binpb"
        contracts.write_bytes(descriptors())
        gateway = GatewayUnderTest(
            folder, descriptor_file=contracts, max_body_bytes=16 << 20, allowed_origins=("https://console.example.org",)
        )
        try:
            yield LaneBehindEnvoy(gateway.start(), backend)
        finally:
            gateway.stop()
