"""Traces, counts and logs every call. The outermost interceptor: it sees what the caller sees."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from google.rpc import code_pb2

from servers.runtime.calls import Behaviour, Call, Method, guarded
from servers.runtime.metrics import MethodMetrics, ServerMetrics
from servers.runtime.statuses import reason_of
from servers.runtime.tracing import RemoteParent, Span, Tracer, enter_span

_LOGGER = logging.getLogger("servers.calls")
_VALUES = dict(code_pb2.Code.items())
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
        tracer, clock, span_name = self._tracer, self._clock, f"{service}/{name}"

        def observed(call: Call) -> _Observed:
            span = tracer.start(span_name, "server", RemoteParent(call.header), attributes)
            return _Observed(call, tracer, span, metrics, clock)

        return observed


class _Observed:
    """One call under observation. A class and no generator: it is half as expensive, and every call pays it."""

    __slots__ = ("_call", "_clock", "_metrics", "_span", "_started", "_tracer")

    def __init__(self, call: Call, tracer: Tracer, span: Span, metrics: MethodMetrics, clock: Callable[[], float]) -> None:
        self._call = call
        self._tracer = tracer
        self._span = span
        self._metrics = metrics
        self._clock = clock
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = self._clock()
        self._metrics.started()
        enter_span(self._tracer, self._span)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        call = self._call
        code = "OK"
        if isinstance(error, (GeneratorExit, asyncio.CancelledError)):
            code = _code_of_departure(call)
        elif error is not None:
            code = code_pb2.Code.Name(call.status.code) if call.status is not None else "UNKNOWN"
        duration_s = self._clock() - self._started
        self._metrics.ended(code, duration_s)
        self._span.set("rpc.grpc.status_code", _VALUES[code])
        self._span.end(code if code in _SERVER_FAULTS else "")
        _log(call, code, duration_s)


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
