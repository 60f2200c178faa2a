"""A real Envoy with the gateway's transcoder, before a server that answers whatever a test wants."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from gateway import filters, listeners, replies
from gateway.settings import GatewaySettings
from gateway.typed import any_of
from servers.runtime.free_ports import free_port
from tools.contracts import layout
from tools.contracts.reading import Contracts

_START_TIMEOUT_S = 60.0


@dataclass
class Backend:
    """A gRPC server of every contract; each test says what it answers.

    Attributes:
        answer: Makes the answer of the call with that path, or aborts the call.
        requests: Serialized requests so far.
    """

    answer: Callable[[str, grpc.ServicerContext], bytes] = lambda _path, _context: b""
    requests: list[bytes] = field(default_factory=list)


class _EveryMethod(grpc.GenericRpcHandler):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[bytes, bytes]:
        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            self._backend.requests.append(request)
            return self._backend.answer(handler_call_details.method, context)

        return grpc.unary_unary_rpc_method_handler(call)


@dataclass(frozen=True)
class Transcoder:
    """The transcoder and what is behind it."""

    client: httpx.Client
    backend: Backend


@contextmanager
def transcoder(contracts: Contracts, folder: Path) -> Iterator[Transcoder]:
    """Runs both.

    Args:
        contracts: The contracts to transcode.
        folder: Takes Envoy's configuration.
    """
    backend = Backend()
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[_EveryMethod(backend)])
    server_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json_format.MessageToJson(_bootstrap(contracts, port, server_port), preserving_proto_field_name=True))
    program = Path(sys.executable).with_name("envoy")
    envoy = subprocess.Popen([program, "--config-path", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as client:
            _wait_until_it_answers(client)
            yield Transcoder(client=client, backend=backend)
    finally:
        envoy.terminate()
        envoy.wait(60)
        server.stop(None).wait()


def _wait_until_it_answers(client: httpx.Client) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if client.get("/api/v1/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            continue
    raise TimeoutError(f"Envoy did not answer within {_START_TIMEOUT_S} s")


def _bootstrap(contracts: Contracts, port: int, server_port: int) -> bootstrap_pb2.Bootstrap:
    descriptors = (layout.GENERATED / layout.DESCRIPTORS).read_bytes()
    services = [service.full_name for service in contracts.services()]
    chain = filters.http_filters(descriptors, services, GatewaySettings())
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix="contracts",
        # Who may call and how often is not what these tests ask.
        http_filters=[each for each in chain if each.name in (filters.TRANSCODER, filters.ROUTER)],
        local_reply_config=replies.local_reply_config(),
        early_header_mutation_extensions=[listeners.drop_headers()],
    )
    manager.normalize_path.value = False
    host = manager.route_config.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.route.cluster = "backend"

    bootstrap = bootstrap_pb2.Bootstrap()
    listener = bootstrap.static_resources.listeners.add(name="public")
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = port
    listener.filter_chains.add().filters.add(name="http").typed_config.CopyFrom(any_of(manager))
    cluster = bootstrap.static_resources.clusters.add(name="backend")
    cluster.http2_protocol_options.SetInParent()
    cluster.load_assignment.cluster_name = "backend"
    address = cluster.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", server_port
    return bootstrap
