"""Prometheus metrics of one server.

The names are those of go-grpc-middleware, so that dashboards people have work here too. Every server has a registry of its own, since
several of them share a process; the label `component` is added when the text is rendered.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

from servers.runtime.calls import Method

_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
# From a cached read to a long upload; a prediction lies near 1 ms.
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServerMetrics:
    """Counts calls and times them.

    Args:
        component: Name of the component, the value of the label `component`.
        registry: Where a component keeps metrics of its own; they are rendered beside these.
    """

    def __init__(self, component: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry(auto_describe=True)
        self._component = component
        labels = ("grpc_type", "grpc_service", "grpc_method")
        self._handled = Counter("grpc_server_handled", "Calls that ended, by status code.", (*labels, "grpc_code"), registry=self.registry)
        self._seconds = Histogram(
            "grpc_server_handling_seconds", "Time from the first to the last message.", labels, buckets=_BUCKETS_S, registry=self.registry
        )
        self._in_flight = Gauge("grpc_server_in_flight", "Calls that run now.", labels, registry=self.registry)
        # The system monitor tells by it which components share a process, and counts that process once.
        about = Gauge("mlmesh_process_info", "The process that the component is in.", ("host", "pid"), registry=self.registry)
        about.labels(socket.gethostname(), os.getpid()).set(1)
        # Linux only; elsewhere both add nothing.
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def of_method(self, method: Method) -> MethodMetrics:
        """Metrics of one method, its labels looked up once."""
        _, service, name = method.path.split("/")
        labels = (_KINDS[(method.request_streaming, method.response_streaming)], service, name)
        return MethodMetrics(self._handled, labels, self._seconds.labels(*labels), self._in_flight.labels(*labels))

    def render(self) -> str:
        """The metrics in the Prometheus text format 0.0.4."""
        return generate_latest(_Labelled(self.registry, self._component)).decode()


class MethodMetrics:
    """Counts and times the calls of one method."""

    def __init__(self, handled: Counter, labels: tuple[str, str, str], seconds: Histogram, in_flight: Gauge) -> None:
        self._handled = handled
        self._labels = labels
        self._seconds = seconds
        self._in_flight = in_flight
        self._by_code: dict[str, Counter] = {"OK": handled.labels(*labels, "OK")}

    def started(self) -> None:
        """A call has begun."""
        self._in_flight.inc()

    def ended(self, code: str, duration_s: float) -> None:
        """A call has ended.

        Args:
            code: Name of its status code.
            duration_s: How long it took, in seconds.
        """
        self._in_flight.dec()
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._handled.labels(*self._labels, code)
        counter.inc()
        self._seconds.observe(duration_s)


class _Labelled(CollectorRegistry):
    """A registry seen through one more label."""

    def __init__(self, inner: CollectorRegistry, component: str) -> None:
        super().__init__()
        self._inner = inner
        self._component = component

    def collect(self) -> Iterable[Metric]:
        """Gives every sample its component."""
        for family in self._inner.collect():
            family.samples = [sample._replace(labels={"component": self._component, **sample.labels}) for sample in family.samples]
            yield family
