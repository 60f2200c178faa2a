"""A mesh in memory, a real Envoy before it, and its control plane: what the tests of the gateway run against."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from envoy.service.discovery.v3 import ads_pb2_grpc
from google.api import httpbody_pb2
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

# Their descriptors have to be in the pool from which answers are made.
from mlops.features.v1 import feature_store_service_pb2_grpc  # noqa: F401
from mlops.ingestion.v1 import ingestion_service_pb2_grpc  # noqa: F401
from mlops.processing.v1 import processing_service_pb2_grpc  # noqa: F401
from mlops.registry.v1 import registry_service_pb2_grpc  # noqa: F401
from mlops.serving.v1 import serving_service_pb2_grpc  # noqa: F401
from mlops.system.v1 import system_service_pb2_grpc  # noqa: F401
from mlops.users.v1 import users_service_pb2 as users_pb
from mlops.users.v1 import users_service_pb2_grpc

from gateway.admin import Admin
from gateway.bootstrap import write_bootstrap
from gateway.configuration import Contracts, Mesh, configuration, read_contracts
from gateway.control_plane.server import AdsServicer, ControlPlane
from gateway.control_plane.snapshot import Snapshot
from gateway.edge.app import edge_app
from gateway.edge.serving import EdgeServer
from gateway.settings import GatewaySettings
from gateway.topology import UnixEndpoint, Upstream
from servers.runtime.free_ports import free_port
from tests.integration.gateway.lane_in_memory import LaneInMemory

COMPONENTS = ("users", "registry", "ingestion", "processing", "features", "serving", "system")
GET_MODEL = "/mlops.registry.v1.ModelRegistryService/GetModel"
CREATE_MODEL = "/mlops.registry.v1.ModelRegistryService/CreateModel"

Answer = Callable[[Any, grpc.ServicerContext], Any]


@dataclass
class Seen:
    """One call that reached a component."""

    method: str
    metadata: Mapping[str, Any]
    request: Any = None


@dataclass
class Component(grpc.GenericRpcHandler):
    """Serves every method of every contract: by the answer that a test has set, else with an empty message."""

    answers: dict[str, Answer] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def calls(self, method: str) -> list[Seen]:
        return [call for call in self.seen if call.method == method]

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        service, _, name = handler_call_details.method.removeprefix("/").rpartition("/")
        try:
            method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        except KeyError:
            return None
        seen = Seen(handler_call_details.method, dict(handler_call_details.invocation_metadata))
        self.seen.append(seen)
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        answer = self.answers.get(handler_call_details.method)

        def one(request: Any, context: grpc.ServicerContext) -> Any:
            if not method.client_streaming:
                seen.request = request
            if answer is None:
                return iter(()) if method.server_streaming else response_class()
            return answer(request, context)

        kinds = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        make = kinds[method.client_streaming, method.server_streaming]
        return make(one, request_deserializer=request_class.FromString, response_serializer=response_class.SerializeToString)


def lane_of(path: Path) -> Path:
    """Socket of the lane of the component that has a socket."""
    return path.with_suffix(".lane")


class ComponentServer:
    """A component that listens on a Unix socket for gRPC, and on another one for its lane."""

    def __init__(self, path: Path, component: Component | None = None, *extra: Callable[[grpc.Server], object]) -> None:
        self.path = path
        self.component = component or Component()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            handlers=[self.component],
            options=[("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)],
        )
        self.health = health.HealthServicer(experimental_non_blocking=True)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        for add in extra:
            add(self._server)
        self._lane = LaneInMemory(lane_of(path), list(SERVICES.values()), self.component)
        self.set_ready(True)
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    @property
    def seen(self) -> list[Seen]:
        return self.component.seen

    def calls(self, method: str) -> list[Seen]:
        return self.component.calls(method)

    def set_ready(self, is_ready: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
        self._lane.is_ready = is_ready
        for service in SERVICES.values():
            self.health.set(service, state)

    def stop(self, grace_s: float = 0) -> None:
        self._server.stop(grace_s).wait()
        self._lane.stop()


SERVICES = {
    "users": "mlops.users.v1.UserService",
    "registry": "mlops.registry.v1.ModelRegistryService",
    "ingestion": "mlops.ingestion.v1.DataIngestionService",
    "processing": "mlops.processing.v1.DataProcessingService",
    "features": "mlops.features.v1.FeatureStoreService",
    "serving": "mlops.serving.v1.ModelServingService",
    "system": "mlops.system.v1.SystemMonitorService",
}


class Keys:
    """Signs tokens as the users server does."""

    def __init__(self, kid: str = "k1") -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self, *others: Keys) -> str:
        keys = []
        for each in (self, *others):
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(each.private.public_key()))
            keys.append({**key, "kid": each.kid, "use": "sig", "alg": "RS256"})
        return json.dumps({"keys": keys})

    def token(self, subject: str = "ada", **claims: Any) -> str:
        now = int(time.time())
        payload = {"iss": "mlmesh", "aud": "mlmesh", "sub": subject, "iat": now, "exp": now + 900, "sid": "s1", **claims}
        payload = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(payload, self.private, algorithm="RS256", headers={"kid": self.kid})


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the names of sockets, which pytest's own does not."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], Any], timeout_s: float = 60.0, message: str = "the condition did not become true") -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, message
        pause.wait(0.02)


class Envoy:
    """A running Envoy."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.log = settings.data_dir / "envoy.log"
        self._output = self.log.open("wb")
        self.process = subprocess.Popen(write_bootstrap(settings), stdout=self._output, stderr=subprocess.STDOUT)
        self.admin = Admin(settings.admin_socket)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.admin.is_ready()

        wait_until(ready, timeout_s, f"Envoy is not ready: {self.log.read_text()}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._output.close()

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


class GatewayUnderTest:
    """Envoy, its control plane in this process, and components in memory.

    Args:
        folder: Where sockets and files are.
        has_lanes: Whether calls go over the lanes of the components.
        settings: Settings of the gateway.
    """

    def __init__(self, folder: Path, *, has_lanes: bool = False, **settings: Any) -> None:
        self.folder = folder
        self.keys = Keys()
        self.settings = GatewaySettings(
            data_dir=folder,
            run_dir=folder,
            port=free_port(),
            users_address=f"unix:{folder}/users.sock",
            access_log=str(folder / "access.log"),
            envoy_workers=1,
            health_interval_s=0.2,
            **settings,
        )
        self.contracts: Contracts = read_contracts(self.settings)
        self.components: dict[str, ComponentServer] = {}
        self.has_lanes = has_lanes
        self.mesh = Mesh({name: self.upstream(name, folder / f"{name}.sock") for name in COMPONENTS})
        self.control_plane = ControlPlane()
        self._ads = grpc.server(futures.ThreadPoolExecutor(8))
        self._stopping = threading.Event()
        self._stack = contextlib.ExitStack()

    def start(self) -> GatewayUnderTest:
        for name in COMPONENTS:
            self.components[name] = ComponentServer(self.folder / f"{name}.sock")
            self._stack.callback(self.components[name].stop)
        self.answer("users", "/mlops.users.v1.UserService/GetJwks", self._jwks)
        self._start_edge()
        servicer = AdsServicer(self.control_plane, self._stopping.is_set)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(servicer, self._ads)
        self._ads.add_insecure_port(self.settings.listen)
        self._ads.start()
        self._stack.callback(lambda: self._ads.stop(0).wait())
        self._stack.callback(self._stopping.set)
        self.control_plane.publish(self.snapshot())
        self.envoy = Envoy(self.settings)
        self._stack.callback(self.envoy.stop)
        self.control_plane.wait_acknowledged(self.snapshot(), 60)
        self.envoy.wait_ready()
        self.client = httpx.Client(base_url=self.url, timeout=20, trust_env=False)
        self._stack.callback(self.client.close)
        return self

    def stop(self) -> None:
        self._stack.close()

    def upstream(self, component: str, *paths: Path) -> Upstream:
        """A component whose servers have these sockets."""
        lanes = tuple(UnixEndpoint(str(lane_of(path))) for path in paths) if self.has_lanes else ()
        return Upstream(component, tuple(UnixEndpoint(str(path)) for path in paths), SERVICES[component], lanes)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def auth(self) -> dict[str, str]:
        return bearer(self.keys.token())

    def answer(self, component: str, method: str, answer: Answer) -> None:
        self.components[component].component.answers[method] = answer

    def replace(self, component: str, *extra: Callable[[grpc.Server], object]) -> None:
        """Restarts a component with further servicers."""
        old = self.components[component]
        old.stop()
        self.components[component] = ComponentServer(old.path, old.component, *extra)
        self._stack.callback(self.components[component].stop)

    def snapshot(self, mesh: Mesh | None = None, jwks: str | None = None) -> Snapshot:
        return configuration(self.contracts, mesh or self.mesh, jwks or self.keys.jwks(), self.settings)

    def publish(self, mesh: Mesh | None = None, jwks: str | None = None) -> Snapshot:
        snapshot = self.snapshot(mesh, jwks)
        self.control_plane.publish(snapshot)
        self.control_plane.wait_acknowledged(snapshot, 60)
        return snapshot

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.settings.port}", options=[("grpc.enable_http_proxy", 0)])

    def access_log(self) -> list[dict[str, Any]]:
        # Envoy may be in the middle of the last line.
        whole_lines, _, _ = Path(self.settings.access_log).read_text().rpartition("\n")
        return [json.loads(line) for line in whole_lines.splitlines()]

    def log_line(self, answer: httpx.Response) -> dict[str, Any]:
        """What the access log has about an answer."""
        request_id = answer.headers["x-request-id"]
        wait_until(lambda: any(line["request_id"] == request_id for line in self.access_log()))
        return next(line for line in self.access_log() if line["request_id"] == request_id)

    def forget(self) -> None:
        """Clears what components have seen and how they answer."""
        for server in self.components.values():
            server.component.seen.clear()
            server.component.answers = {name: answer for name, answer in server.component.answers.items() if name.endswith("/GetJwks")}

    def _jwks(self, request: Any, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=self.keys.jwks().encode())

    def _start_edge(self) -> None:
        channel = grpc.insecure_channel(self.settings.users_address)
        self._stack.callback(channel.close)
        stub = users_service_pb2_grpc.UserServiceStub(channel)

        def exchange(request: users_pb.ExchangeTokenRequest, metadata: Mapping[str, str]) -> users_pb.TokenResponse:
            return stub.ExchangeToken(request, metadata=tuple(metadata.items()), timeout=5)

        edge = EdgeServer(edge_app(self.settings.openapi_file, exchange), self.settings.edge_socket)
        edge.start()
        self._stack.callback(edge.close)


def by_status(responses: list[httpx.Response]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for response in responses:
        counts[response.status_code] += 1
    return dict(counts)
