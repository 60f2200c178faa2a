"""How a component is: its dependencies, probed in the background, and `ComponentService`, which tells."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlops.common.v1 import component_service_pb2 as pb
from mlops.common.v1 import component_service_pb2_grpc

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LOGGER = logging.getLogger(__name__)
_FIRST_RETRY_PAUSE_S = 0.1
_LONGEST_RETRY_PAUSE_S = 0.5


@dataclass(frozen=True)
class Dependency:
    """Something a component needs.

    Args:
        name: Short name, for example `database`.
        check: Returns where it works and raises where not. Runs in a thread of its own.
        timeout_s: Seconds after which a check that has not returned counts as failed.
        is_required: Whether the component is NOT_SERVING without it; otherwise it is only degraded.
    """

    name: str
    check: Callable[[], object]
    timeout_s: float = 2.0
    is_required: bool = True


def database_dependency(engine: Engine) -> Dependency:
    """The component's database: `SELECT 1`."""

    def check() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    return Dependency("database", check)


@dataclass(frozen=True)
class Probe:
    """What the last check of a dependency said.

    Args:
        name: Name of the dependency.
        is_healthy: Whether it works.
        reason: Why not; empty where it works.
        since: When it last changed.
        latency_ms: How long the check took, in milliseconds.
        is_required: As in `Dependency`.
    """

    name: str
    is_healthy: bool
    reason: str
    since: datetime
    latency_ms: float
    is_required: bool


class DependencyMonitor:
    """Checks dependencies on an interval, each in a thread of its own, so that a hanging one hides no other.

    Args:
        dependencies: What to check.
        interval_s: Pause between two checks of one, in seconds.
        on_change: Told whether every required dependency works, after the first round and whenever that changes.
    """

    def __init__(self, dependencies: Sequence[Dependency], interval_s: float, on_change: Callable[[bool], None]) -> None:
        self._dependencies = tuple(dependencies)
        self._interval_s = interval_s
        self._on_change = on_change
        self._lock = threading.Lock()
        self._probes: dict[str, Probe] = {}
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._was_ready: bool | None = None

    def start(self) -> None:
        """Starts checking. Returns at once; a component without dependencies is ready now."""
        self._report()
        for dependency in self._dependencies:
            thread = threading.Thread(target=self._watch, args=(dependency,), name=f"check-{dependency.name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stops checking."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=1)

    def probes(self) -> tuple[Probe, ...]:
        """The last result of each dependency, by name; one that was never checked is missing."""
        with self._lock:
            return tuple(self._probes[name] for name in sorted(self._probes))

    def _watch(self, dependency: Dependency) -> None:
        check = _Check(dependency)
        failures = 0
        while not self._stopped.is_set():
            reason, latency_ms = check.run()
            self._record(dependency, reason, latency_ms)
            self._report()
            failures = failures + 1 if reason else 0
            self._stopped.wait(check_pause_s(failures, self._interval_s))

    def _record(self, dependency: Dependency, reason: str, latency_ms: float) -> None:
        with self._lock:
            before = self._probes.get(dependency.name)
            is_healthy = not reason
            unchanged = before is not None and before.is_healthy == is_healthy
            since = before.since if before is not None and unchanged else datetime.now(UTC)
            self._probes[dependency.name] = Probe(dependency.name, is_healthy, reason, since, latency_ms, dependency.is_required)
        if not unchanged and (before is not None or not is_healthy):
            _LOGGER.log(logging.INFO if is_healthy else logging.WARNING, "dependency %s: %s", dependency.name, reason or "works again")

    def _report(self) -> None:
        with self._lock:
            required = [dependency.name for dependency in self._dependencies if dependency.is_required]
            is_ready = all(name in self._probes and self._probes[name].is_healthy for name in required)
            if is_ready == self._was_ready:
                return
            self._was_ready = is_ready
            self._on_change(is_ready)


def check_pause_s(failures_in_a_row: int, interval_s: float) -> float:
    """Returns the pause before a dependency is checked again, in seconds.

    What is away is looked for more often: a server that starts waits for what starts beside it, and what was killed is soon back.

    Args:
        failures_in_a_row: How many checks have failed since the last that did not.
        interval_s: Pause between two checks of what works, in seconds.
    """
    if failures_in_a_row == 0:
        return interval_s
    # The exponent is capped so that what is away for a year does not overflow a float.
    return min(interval_s, _LONGEST_RETRY_PAUSE_S, _FIRST_RETRY_PAUSE_S * 2.0 ** min(failures_in_a_row - 1, 32))


class _Check:
    """Runs one check in a thread, since nothing stops a call that hangs; at most one at a time, so that hanging ones do not pile up."""

    def __init__(self, dependency: Dependency) -> None:
        self._dependency = dependency
        self._thread: threading.Thread | None = None
        self._reason: str | None = None

    def run(self) -> tuple[str, float]:
        """Gives the reason of the failure, empty where it works, and milliseconds."""
        started = time.perf_counter()
        if self._thread is None or not self._thread.is_alive():
            self._reason = None
            self._thread = threading.Thread(target=self._probe, name=f"probe-{self._dependency.name}", daemon=True)
            self._thread.start()
        self._thread.join(self._dependency.timeout_s)
        reason = self._reason if not self._thread.is_alive() else None
        latency_ms = (time.perf_counter() - started) * 1000
        return (f"no answer within {self._dependency.timeout_s:g} s" if reason is None else reason), latency_ms

    def _probe(self) -> None:
        try:
            self._dependency.check()
        except Exception as error:  # a check may fail in any way, and each is its answer
            text = str(error).strip()
            self._reason = f"{type(error).__name__}: {text.splitlines()[0][:200] if text else 'no message'}"
        else:
            self._reason = ""


class ComponentServicer(component_service_pb2_grpc.ComponentServiceServicer):
    """Says how the component is.

    Args:
        component: Its name.
        version: Version of the software.
        monitor: Its dependencies.
        metrics: Renders the metrics in the Prometheus text format.
        clock: The time now.
    """

    def __init__(
        self,
        component: str,
        version: str,
        monitor: DependencyMonitor,
        metrics: Callable[[], str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._component = component
        self._version = version
        self._monitor = monitor
        self._metrics = metrics
        self._start_time = clock()

    def GetComponentStatus(self, request: pb.GetComponentStatusRequest, context: Any) -> pb.ComponentStatus:  # noqa: N802, ARG002
        """Gives the state of the component and of what it uses."""
        return status_message(self._component, self._version, self._start_time, self._monitor.probes())

    def GetComponentMetrics(  # noqa: N802
        self,
        request: pb.GetComponentMetricsRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.GetComponentMetricsResponse:
        """Gives the metrics."""
        return pb.GetComponentMetricsResponse(text=self._metrics())


def status_message(component: str, version: str, start_time: datetime, probes: Sequence[Probe]) -> pb.ComponentStatus:
    """Sums up probes: one failed required dependency makes a component unavailable, any other degraded."""
    failed = [probe for probe in probes if not probe.is_healthy]
    state = pb.HEALTH_STATE_HEALTHY
    if failed:
        is_down = any(probe.is_required for probe in failed)
        state = pb.HEALTH_STATE_UNAVAILABLE if is_down else pb.HEALTH_STATE_DEGRADED
    status = pb.ComponentStatus(
        component=component,
        version=version,
        state=state,
        reason="; ".join(f"{probe.name}: {probe.reason}" for probe in failed),
        dependencies=[_dependency_message(probe) for probe in probes],
    )
    status.start_time.FromDatetime(start_time)
    status.since_time.FromDatetime(max([start_time, *(probe.since for probe in probes)]))
    return status


def _dependency_message(probe: Probe) -> pb.DependencyStatus:
    message = pb.DependencyStatus(
        name=probe.name,
        state=pb.HEALTH_STATE_HEALTHY if probe.is_healthy else pb.HEALTH_STATE_UNAVAILABLE,
        reason=probe.reason,
        latency_ms=probe.latency_ms,
    )
    message.since_time.FromDatetime(probe.since)
    return message
