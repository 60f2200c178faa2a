"""Traces, counts and logs every call. The outermost interceptor: it sees what the caller sees."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from google.rpc import code_pb2

from servers.runtime.calls import Behaviour, Call, Method, guarded
from servers.runtime.metrics import ServerMetrics
from servers.runtime.statuses import reason_of
from servers.runtime.tracing import TRACEPARENT, TRACESTATE, Tracer, enter_span, parse_traceparent

_LOGGER = logging.getLogger("servers.calls")
# Codes that say the server, and not the caller, was at fault; only these make a span a failed one (OpenTelemetry's rule for servers).
_SERVER_FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


class TelemetryInterceptor:
    """Opens a span for each call, counts and times it.

    Args:
        tracer: Names or records spans.
        metrics: Where calls are counted.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, tracer: Tracer, metrics: ServerMetrics, clock: Callable[[], float] = time.perf_counter) -> None:
        self._tracer = tracer
        self._metrics = metrics
        self._clock = clock

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour whose calls are seen."""
        return guarded(method, inner, self._guard(method))

    def _guard(self, method: Method) -> Callable[[Call], AbstractContextManager[object]]:
        metrics = self._metrics.of_method(method)
        _, service, name = method.path.split("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}

        @contextmanager
        def observed(call: Call) -> Iterator[None]:
            started = self._clock()
            metrics.started()
            parent = parse_traceparent(call.metadata.get(TRACEPARENT), call.metadata.get(TRACESTATE))
            span = self._tracer.start(f"{service}/{name}", "server", parent, attributes)
            enter_span(self._tracer, span)
            code = "OK"
            try:
                yield
            except GeneratorExit:
                code = _code_of_departure(call)
                raise
            except BaseException:
                code = code_pb2.Code.Name(call.status.code) if call.status is not None else "UNKNOWN"
                raise
            finally:
                duration_s = self._clock() - started
                metrics.ended(code, duration_s)
                span.set("rpc.grpc.status_code", code_pb2.Code.Value(code))
                span.end(code if code in _SERVER_FAULTS else "")
                _log(call, code, duration_s)

        return observed


def _code_of_departure(call: Call) -> str:
    remaining_s = call.context.time_remaining()
    return "DEADLINE_EXCEEDED" if remaining_s is not None and remaining_s <= 0 else "CANCELLED"


def _log(call: Call, code: str, duration_s: float) -> None:
    level = logging.DEBUG if code == "OK" else logging.INFO
    if _LOGGER.isEnabledFor(level):
        facts = {"method": call.method.path, "code": code, "duration_ms": round(duration_s * 1000, 3), "subject": call.principal.subject}
        if call.status is not None:
            facts["reason"] = reason_of(call.status)
        _LOGGER.log(level, "%s %s", call.method.path, code, extra={"facts": facts})
