"""Prometheus metrics of one server.

The names are those of go-grpc-middleware, so that dashboards people have work here too. Every server has a registry of its own, since
several of them share a process; the label `component` is added when the text is rendered.
"""

from __future__ import annotations

import os
import socket
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

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
        self._methods: dict[tuple[str, str, str], MethodMetrics] = {}
        self.registry.register(_CallCollector(self._methods))
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
        return self._methods.setdefault(labels, MethodMetrics())

    def render(self) -> str:
        """The metrics in the Prometheus text format 0.0.4."""
        return generate_latest(_Labelled(self.registry, self._component)).decode()


class MethodMetrics:
    """Counts and times the calls of one method.

    Numbers under one lock, of which metrics are made when somebody asks: five objects of prometheus_client, each with a lock of its own,
    cost a prediction 5 µs, this costs it less than one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight = 0
        self._handled: dict[str, int] = {"OK": 0}
        self._sum_s = 0.0
        self._buckets = [0] * (len(_BUCKETS_S) + 1)

    def started(self) -> None:
        """A call has begun."""
        with self._lock:
            self._in_flight += 1

    def ended(self, code: str, duration_s: float) -> None:
        """A call has ended.

        Args:
            code: Name of its status code.
            duration_s: How long it took, in seconds.
        """
        bucket = bisect_left(_BUCKETS_S, duration_s)
        with self._lock:
            self._in_flight -= 1
            self._handled[code] = self._handled.get(code, 0) + 1
            self._sum_s += duration_s
            self._buckets[bucket] += 1

    def view(self) -> tuple[int, dict[str, int], list[int], float]:
        """Calls in flight, calls that ended by status code, calls up to each bound (the last: all), and the sum of their seconds."""
        with self._lock:
            return self._in_flight, dict(self._handled), list(accumulate(self._buckets)), self._sum_s


class _CallCollector(Collector):
    """Makes metrics of what the methods have counted."""

    def __init__(self, methods: Mapping[tuple[str, str, str], MethodMetrics]) -> None:
        self._methods = methods

    def collect(self) -> Iterable[Metric]:
        """Yields the families."""
        labels = ("grpc_type", "grpc_service", "grpc_method")
        handled = CounterMetricFamily("grpc_server_handled", "Calls that ended, by status code.", labels=(*labels, "grpc_code"))
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Time from the first to the last message.", labels=labels)
        running = GaugeMetricFamily("grpc_server_in_flight", "Calls that run now.", labels=labels)
        bounds = [*map(floatToGoString, _BUCKETS_S), "+Inf"]
        for names, method in list(self._methods.items()):
            in_flight, by_code, buckets, sum_s = method.view()
            running.add_metric(names, in_flight)
            for code, count in by_code.items():
                handled.add_metric((*names, code), count)
            seconds.add_metric(names, list(zip(bounds, buckets, strict=True)), sum_s)
        return handled, seconds, running


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
