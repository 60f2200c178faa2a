"""Builds, starts and stops a server."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from mlops.common.v1 import component_service_pb2_grpc

from servers.runtime.admission import Admission
from servers.runtime.assembly import Life, records, remote_verifier
from servers.runtime.call_pool import MOST_REFUSALS, CallPool
from servers.runtime.component import ComponentServicer, Dependency, DependencyMonitor
from servers.runtime.interceptors.admission import AdmissionInterceptor
from servers.runtime.interceptors.audit import AuditInterceptor
from servers.runtime.interceptors.auth import Authentication, Authorization
from servers.runtime.interceptors.errors import ErrorInterceptor
from servers.runtime.interceptors.telemetry import TelemetryInterceptor
from servers.runtime.interceptors.translation import Translate, TranslationInterceptor
from servers.runtime.interceptors.validation import ValidationInterceptor
from servers.runtime.lane.endpoints import Endpoints
from servers.runtime.lane.listener import Lane
from servers.runtime.lane.loop import LoopThread
from servers.runtime.listening import ListenError, bind, transport_options, unlink_socket
from servers.runtime.logging import configure_logging
from servers.runtime.metrics import ServerMetrics
from servers.runtime.registration import PUBLIC, ContractError, Pipeline, Registration, register
from servers.runtime.settings import ServerSettings
from servers.runtime.stop_signals import StopSignals
from servers.runtime.telemetry import open_tracer
from servers.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from sqlalchemy import Engine

    from servers.runtime.audit_events import AuditSink

__all__ = ["PUBLIC", "ContractError", "ListenError", "Registration", "Server", "build_server", "run"]

# After every answer is out: time for clients to see that the connection ends, and for cancelled calls to unwind.
_GOAWAY_S = 0.1
_CANCEL_S = 5.0
_STANDARD_ERROR = 2
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
        admission: Knows which calls run.
        loop: Runs coroutines.
        lane: Serves Envoy; None where no `lane` is set.
        life: What starts before the first call and closes after the last.
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
        admission: Admission,
        loop: LoopThread,
        lane: Lane | None,
        life: Life,
    ) -> None:
        self.component = component
        self._admission = admission
        self._settings = settings
        self._grpc = grpc_server
        self._pool = pool
        self._health = health_servicer
        self._services = tuple(services)
        self._dependencies = dependencies
        self._loop = loop
        self._lane = lane
        self._life = life
        self._address = ""
        self._is_ready = False
        self._stop_lock = threading.Lock()
        self._announced_at: float | None = None
        self._stopped = threading.Event()

    @property
    def log_level(self) -> str:
        """Least severe level that its logs are to have."""
        return self._settings.log_level

    @property
    def address(self) -> str:
        """The gRPC target that reaches the server. Empty before `start`."""
        return self._address

    @property
    def is_ready(self) -> bool:
        """Whether proxies may send calls."""
        return self._is_ready and not self._admission.stopping.is_set()

    def start(self) -> None:
        """Begins to serve.

        Raises:
            ListenError: The address cannot be served on.
        """
        self._address = bind(self._grpc, self._settings)
        self._loop.start()
        for begin in self._life.starters:
            begin()
        self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._grpc.start()
        if self._lane is not None:
            self._lane.start()
        self._dependencies.start()
        _LOGGER.info("%s serves on %s", self.component, self._address)

    def set_ready(self, is_ready: bool) -> None:
        """Reports the services as ready or not. The process itself stays alive (`""` in the health protocol)."""
        if self._admission.stopping.is_set():
            return
        self._is_ready = is_ready
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
            self._admission.stopping.set()
            # Makes every state NOT_SERVING and ignores later changes.
            self._health.enter_graceful_shutdown()
            if self._lane is not None:
                self._lane.announce_stop()

    def stop(self, *, disconnect: bool = True) -> None:
        """Stops without failing a call that was accepted. Safe to call twice.

        NOT_SERVING, serve on for `drain_s`, refuse new calls, wait up to `grace_s` for those that run, disconnect, close.

        Args:
            disconnect: Whether to close the connections. A process that ends right after leaves that to the kernel, whose reset tells
                clients UNAVAILABLE where gRPC's own shutdown would tell them CANCELLED.
        """
        self.announce_stop()
        announced_at = self._announced_at or 0.0
        with self._stop_lock:
            if self._stopped.is_set():
                return
            self._stopped.wait(max(0.0, announced_at + self._settings.drain_s - time.monotonic()))
            self._admission.close()
            is_idle = self._admission.wait_until_idle(self._settings.grace_s)
            if not is_idle:
                _LOGGER.warning("%s: calls that still run after %g s are cancelled", self.component, self._settings.grace_s)
            if disconnect or not is_idle:
                self._grpc.stop(_GOAWAY_S if is_idle else None).wait(_CANCEL_S)
            if self._lane is not None:
                self._lane.close()
            self._close()
            self._stopped.set()
        _LOGGER.info("%s has stopped", self.component)

    def _close(self) -> None:
        self._pool.shutdown(wait=False)
        self._dependencies.close()
        for close in reversed(self._life.closers):
            try:
                close()
            except Exception:  # one thing that cannot be closed must not keep the others open
                _LOGGER.exception("%s: closing failed", self.component)
        self._loop.close()
        unlink_socket(self._address)


def build_server(
    settings: ServerSettings,
    servicers: Sequence[Registration],
    *,
    component: str,
    dependencies: Sequence[Dependency] = (),
    database: Engine | None = None,
    verifier: TokenVerifier | None = None,
    audit: AuditSink | None = None,
    metrics: CollectorRegistry | None = None,
    translate: Translate | None = None,
    loop: LoopThread | None = None,
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
        audit: Takes audit events. None = an outbox in the database, shipped to the users server.
        metrics: Registry with metrics of the component's own.
        translate: Says what the errors of a library below the servicers are to callers.
        loop: Runs coroutines, for components that have some of their own on it; None = one that nobody else knows.
        on_close: Called in reverse order after the last call.

    Returns:
        A server to start.

    Raises:
        ContractError: A method lacks its policy, or nothing can verify tokens.
    """
    admission = Admission(settings.max_concurrent_calls)
    life = Life(closers=[*([] if database is None else [database.dispose]), *on_close], dependencies=list(dependencies))
    tracer = open_tracer(settings, component, software_version())
    life.closers.append(tracer.close)
    server_metrics = ServerMetrics(component, metrics)
    verifier = verifier or remote_verifier(settings, life)
    kept = records(settings, database, life, audit)
    recorder = AuditInterceptor(kept.sink)
    pipeline = Pipeline(
        outer=[
            TelemetryInterceptor(tracer, server_metrics),
            ErrorInterceptor(),
            AdmissionInterceptor(admission),
            Authentication(verifier),
        ],
        inner=[
            Authorization(recorder.denied),
            ValidationInterceptor(),
            recorder,
            *kept.interceptors,
            *([] if translate is None else [TranslationInterceptor(translate)]),
        ],
        stopping=admission.stopping,
        loop=loop or LoopThread(component),
    )
    pool = CallPool(settings.worker_threads, settings.max_concurrent_calls, component)
    # The pool refuses with details; gRPC's own limit is for what not even refusing keeps up with.
    grpc_server = grpc.server(
        pool, options=transport_options(settings), maximum_concurrent_rpcs=settings.max_concurrent_calls + MOST_REFUSALS
    )
    # The monitor reports to a server that cannot exist before it.
    server: Server
    monitor = DependencyMonitor(life.dependencies, settings.dependency_interval_s, lambda is_ready: server.set_ready(is_ready))
    about = ComponentServicer(component, software_version(), monitor, server_metrics.render)
    own = Registration(component_service_pb2_grpc.add_ComponentServiceServicer_to_server, about)
    endpoints = Endpoints() if settings.lane else None
    services = register(grpc_server, [*servicers, own], pipeline, endpoints)
    health_servicer = _add_health(grpc_server, services)
    lane = None if endpoints is None else _lane(settings, pipeline, pool, endpoints, lambda: server.is_ready)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), grpc_server)
    server = Server(settings, component, grpc_server, pool, health_servicer, services, monitor, admission, pipeline.loop, lane, life)
    return server


def _lane(settings: ServerSettings, pipeline: Pipeline, pool: CallPool, endpoints: Endpoints, is_ready: Callable[[], bool]) -> Lane:
    return Lane(settings.lane, pipeline.loop, pool, endpoints, max_message_bytes=settings.max_message_bytes, is_ready=is_ready)


def software_version() -> str:
    """Version of the installed distribution; `0+unknown` in a source tree without one."""
    try:
        return version("mlmesh")
    except PackageNotFoundError:
        return "0+unknown"


def run(build: Callable[[], Server | Sequence[Server]]) -> int:
    """Serves until SIGTERM or SIGINT, then stops gracefully. A second signal kills; SIGUSR1 prints what each thread is at.

    Args:
        build: The composition root: gives one server, or several in the order they are to start; they stop in the opposite one.

    Returns:
        1 where nothing could start; stderr says why. Where something did, the process ends here, with 0 after a signal.
    """
    asked_to_stop = StopSignals()
    faulthandler.register(signal.SIGUSR1, file=_STANDARD_ERROR)
    configure_logging(os.environ.get("MLMESH_LOG_LEVEL", "INFO").upper())
    started: list[Server] = []
    exit_code = 0
    try:
        built = build()
        servers = [built] if isinstance(built, Server) else list(built)
        logging.getLogger().setLevel(min(logging.getLevelNamesMapping()[server.log_level] for server in servers))
        for server in servers:
            server.start()
            started.append(server)
        # What is there now stays until the end; the collector need not walk through it again and again.
        gc.freeze()
        asked_to_stop.wait()
    except (ContractError, ListenError, ValueError, ImportError, OSError) as error:
        # These say themselves what is wrong with settings or surroundings; a stack adds nothing.
        print(f"cannot start: {error}", file=sys.stderr)
        exit_code = 1
    except Exception:
        _LOGGER.exception("cannot start")
        exit_code = 1
    finally:
        # All at once, so that they drain at the same time.
        for server in started:
            server.announce_stop()
        for server in reversed(started):
            server.stop(disconnect=False)
    if started:
        _end_process(exit_code)
    return exit_code


def _end_process(exit_code: int) -> NoReturn:
    """Ends without finalizing the interpreter: everything is closed, and gRPC's threads hold the finalization up by 1 to 3 s (ADR 0010)."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _add_health(grpc_server: grpc.Server, services: Sequence[str]) -> health.HealthServicer:
    # Watch streams of health run without a worker thread, which is why health is outside of the pipeline.
    servicer = health.HealthServicer(experimental_non_blocking=True)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, grpc_server)
    for service in services:
        servicer.set(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    return servicer
