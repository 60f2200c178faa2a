"""Builds, starts and stops a server."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from mlops.common.v1 import component_service_pb2_grpc

from servers.runtime.component import ComponentServicer, Dependency, DependencyMonitor
from servers.runtime.interceptors.auth import Authentication, Authorization
from servers.runtime.interceptors.errors import ErrorInterceptor
from servers.runtime.interceptors.validation import ValidationInterceptor
from servers.runtime.keys import RemoteKeys
from servers.runtime.listening import ListenError, bind, transport_options, unlink_socket
from servers.runtime.registration import PUBLIC, ContractError, Pipeline, Registration, register
from servers.runtime.settings import ServerSettings
from servers.runtime.tokens import TokenVerifier
from servers.runtime.users_client import remote_keys

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["PUBLIC", "ContractError", "ListenError", "Registration", "Server", "build_server", "run"]

_LOGGER = logging.getLogger(__name__)


class Server:
    """One gRPC server of the mesh. Made by `build_server`; several may live in one process.

    Args:
        settings: Address, time-outs, TLS.
        component: Name of the component.
        grpc_server: The server, with its servicers.
        pool: Its worker threads.
        health_servicer: Its health service.
        services: Full names of its services, to report as ready or not.
        dependencies: What it depends on.
        stopping: Set when it begins to stop.
        on_close: Called in reverse order once no call runs any more.
        on_start: Called before the first call can arrive.
    """

    def __init__(
        self,
        settings: ServerSettings,
        component: str,
        grpc_server: grpc.Server,
        pool: ThreadPoolExecutor,
        health_servicer: health.HealthServicer,
        services: Sequence[str],
        dependencies: DependencyMonitor,
        stopping: threading.Event,
        on_start: Sequence[Callable[[], object]],
        on_close: Sequence[Callable[[], object]],
    ) -> None:
        self.component = component
        self.stopping = stopping
        self._settings = settings
        self._grpc = grpc_server
        self._pool = pool
        self._health = health_servicer
        self._services = tuple(services)
        self._dependencies = dependencies
        self._on_start = tuple(on_start)
        self._on_close = tuple(on_close)
        self._address = ""
        self._stop_lock = threading.Lock()
        self._announced_at: float | None = None
        self._stopped = threading.Event()

    @property
    def address(self) -> str:
        """GRPC target that reaches the server. Empty before `start`."""
        return self._address

    def start(self) -> None:
        """Begins to serve.

        Raises:
            ListenError: The address cannot be served on.
        """
        self._address = bind(self._grpc, self._settings)
        for begin in self._on_start:
            begin()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        self._dependencies.start()
        _LOGGER.info("%s serves on %s", self.component, self._address)

    def set_ready(self, is_ready: bool) -> None:
        """Reports the services as ready or not. The process itself stays alive (`""` in the health protocol)."""
        if self.stopping.is_set():
            return
        state = health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            self._health.set(service, state)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the server has stopped.

        Args:
            timeout_s: Longest time to wait, in seconds; None = for ever.

        Returns:
            Whether it has stopped.
        """
        return self._stopped.wait(timeout_s)

    def announce_stop(self) -> None:
        """Turns NOT_SERVING, and goes on serving: proxies notice and send their traffic elsewhere."""
        with self._stop_lock:
            if self._announced_at is not None:
                return
            self._announced_at = time.monotonic()
            self.stopping.set()
            # Makes every state NOT_SERVING and ignores later changes.
            self._health.enter_graceful_shutdown()

    def stop(self) -> None:
        """Stops without failing a call that was accepted: NOT_SERVING, drain, GOAWAY, grace, close. Safe to call twice."""
        self.announce_stop()
        announced_at = self._announced_at or 0.0
        with self._stop_lock:
            if self._stopped.is_set():
                return
            self._stopped.wait(max(0.0, announced_at + self._settings.drain_s - time.monotonic()))
            done = self._grpc.stop(self._settings.grace_s)
            if not done.wait(self._settings.grace_s + 5):
                _LOGGER.error("%s: calls still run %.0f s after they were cancelled", self.component, 5.0)
            self._close()
            self._stopped.set()
        _LOGGER.info("%s has stopped", self.component)

    def _close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._dependencies.close()
        for close in reversed(self._on_close):
            try:
                close()
            except Exception:  # one thing that cannot be closed must not keep the others open
                _LOGGER.exception("%s: closing failed", self.component)
        unlink_socket(self._address)


def build_server(
    settings: ServerSettings,
    servicers: Sequence[Registration],
    *,
    component: str,
    dependencies: Sequence[Dependency] = (),
    database: Engine | None = None,
    verifier: TokenVerifier | None = None,
    on_close: Sequence[Callable[[], object]] = (),
) -> Server:
    """Puts a server together; it does not listen yet.

    Args:
        settings: The component's settings.
        servicers: What it serves.
        component: Its name, for example `registry`.
        dependencies: What it needs; while a required one fails, its services are NOT_SERVING.
        database: Its database, which also keeps replayed requests and audit events; disposed of on stop.
        verifier: Judges tokens. None = one with the keys of `settings.users_address`.
        on_close: Called in reverse order after the last call.

    Returns:
        A server to start.

    Raises:
        ContractError: A method lacks its policy, or nothing can verify tokens.
    """
    stopping = threading.Event()
    pool = ThreadPoolExecutor(settings.worker_threads, thread_name_prefix=component)
    grpc_server = grpc.server(pool, options=transport_options(settings), maximum_concurrent_rpcs=settings.max_concurrent_calls)
    starters: list[Callable[[], object]] = []
    closers: list[Callable[[], object]] = list(on_close) if database is None else [database.dispose, *on_close]
    if verifier is None:
        verifier, keys = _remote_verifier(settings)
        starters.append(keys.start)
        closers.append(keys.close)
    pipeline = Pipeline(
        outer=[ErrorInterceptor(), Authentication(verifier)],
        inner=[Authorization(), ValidationInterceptor()],
        stopping=stopping,
    )
    # The monitor reports to a server that cannot exist before it.
    server: Server
    monitor = DependencyMonitor(dependencies, settings.dependency_interval_s, lambda is_ready: server.set_ready(is_ready))
    about = ComponentServicer(component, software_version(), monitor, metrics=lambda: "")
    registrations = [*servicers, Registration(component_service_pb2_grpc.add_ComponentServiceServicer_to_server, about)]
    services = register(grpc_server, registrations, pipeline)
    health_servicer = _add_health(grpc_server, services)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), grpc_server)
    server = Server(
        settings, component, grpc_server, pool, health_servicer, services, monitor, stopping, on_start=starters, on_close=closers
    )
    return server


def software_version() -> str:
    """Version of the installed distribution; `0+unknown` in a source tree without one."""
    try:
        return version("mlmesh")
    except PackageNotFoundError:
        return "0+unknown"


def run(build: Callable[[], Server | Sequence[Server]]) -> int:
    """Serves until SIGTERM or SIGINT, then stops gracefully. A second signal kills.

    Args:
        build: The composition root: gives one server, or several in the order they are to start.

    Returns:
        Exit code of the process: 0 after a signal, 1 where a server could not start.
    """
    asked_to_stop = threading.Event()

    def on_signal(signum: int, _frame: object) -> None:
        asked_to_stop.set()
        signal.signal(signum, signal.SIG_DFL)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, on_signal)
    try:
        built = build()
        servers = [built] if isinstance(built, Server) else list(built)
    except (ContractError, ValueError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    started: list[Server] = []
    try:
        for server in servers:
            server.start()
            started.append(server)
        asked_to_stop.wait()
    except ListenError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        for server in started:
            server.announce_stop()
        for server in reversed(started):
            server.stop()
    return 0


def _add_health(grpc_server: grpc.Server, services: Sequence[str]) -> health.HealthServicer:
    # Watch streams of health run without a worker thread, which is why health is outside of the pipeline.
    servicer = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, grpc_server)
    for service in services:
        servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    return servicer


def _remote_verifier(settings: ServerSettings) -> tuple[TokenVerifier, RemoteKeys]:
    if not settings.users_address:
        raise ContractError("nothing can verify tokens: set users_address, or pass a verifier")
    keys = remote_keys(settings)
    return TokenVerifier(keys, settings.issuer, settings.audience, keys, leeway_s=settings.token_leeway_s), keys
