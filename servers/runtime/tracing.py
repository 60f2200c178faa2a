"""Traces: which request a piece of work belongs to, from the gateway through every server.

The context travels as W3C `traceparent` (https://www.w3.org/TR/trace-context/). Ids exist always, so that logs and audit events of one
request can be joined; spans are recorded, through the OpenTelemetry SDK, only where they are exported.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol

TRACEPARENT = "traceparent"
"""Metadata key of the context."""

TRACESTATE = "tracestate"
"""Metadata key of what vendors add to it; passed on as it came."""

SpanKind = Literal["server", "client", "internal"]
AttributeValue = str | bool | int | float

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_TRACESTATE_CHARS = 512


@dataclass(frozen=True)
class TraceContext:
    """Names a span anywhere in the mesh.

    Args:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        is_sampled: Whether the trace is recorded.
        state: `tracestate` of the caller.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""

    def traceparent(self) -> str:
        """The context as it travels."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


class RemoteParent:
    """What a caller sent about the trace, read only where somebody asks.

    Args:
        header: Finds a header of the call.
    """

    __slots__ = ("_header",)

    def __init__(self, header: Callable[[str], object]) -> None:
        self._header = header

    def context(self) -> TraceContext | None:
        """The caller's span; None where there is none, or none that can be read."""
        return parse_traceparent(self._header(TRACEPARENT), self._header(TRACESTATE))


Parent = TraceContext | RemoteParent | None
"""What a span is part of; nothing = it begins a trace."""


class Span(Protocol):
    """A piece of work under way."""

    @property
    def context(self) -> TraceContext:
        """Its name."""

    @property
    def is_recorded(self) -> bool:
        """Whether what is said of it, and of spans below it, is kept anywhere."""

    def set(self, key: str, value: AttributeValue) -> None:
        """Adds an attribute. Never a secret, never content of a request."""

    def end(self, error: str = "") -> None:
        """Ends it; with an error where it failed."""


class Tracer(Protocol):
    """Starts spans."""

    def start(self, name: str, kind: SpanKind, parent: Parent, attributes: Mapping[str, AttributeValue]) -> Span:
        """Starts a span below `parent`, or a trace where there is none."""

    def close(self) -> None:
        """Sends what has not been sent."""


class _Unrecorded:
    """A span of which only the name exists, and that only once somebody asks for it."""

    __slots__ = ("_context", "_parent")

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._context: TraceContext | None = None

    @property
    def is_recorded(self) -> bool:
        """Never."""
        return False

    @property
    def context(self) -> TraceContext:
        """Its name."""
        if self._context is None:
            parent = context_of(self._parent)
            span_id = _hexadecimal(64)
            if parent is None:
                self._context = TraceContext(_hexadecimal(128), span_id, is_sampled=False)
            else:
                self._context = TraceContext(parent.trace_id, span_id, parent.is_sampled, parent.state)
        return self._context

    def set(self, key: str, value: AttributeValue) -> None:
        """Nothing is recorded."""

    def end(self, error: str = "") -> None:
        """Nothing is recorded."""


class PropagatingTracer:
    """Names spans and passes the names on, and records nothing."""

    def start(self, name: str, kind: SpanKind, parent: Parent, attributes: Mapping[str, AttributeValue]) -> Span:
        """Starts a span."""
        del name, kind, attributes
        return _Unrecorded(parent)

    def close(self) -> None:
        """Nothing is left to send."""


def context_of(parent: Parent) -> TraceContext | None:
    """The span that a parent names, if it names one."""
    return parent.context() if isinstance(parent, RemoteParent) else parent


def _hexadecimal(bits: int) -> str:
    # Names, and no secrets: OpenTelemetry makes them in the same way.
    return f"{random.getrandbits(bits):0{bits // 4}x}"


_current_span: ContextVar[tuple[Tracer, Span] | None] = ContextVar("mlmesh_span", default=None)


def current_trace() -> TraceContext | None:
    """The context of the span under way in this thread, or None outside of any."""
    current = _current_span.get()
    return None if current is None else current[1].context


def is_recorded() -> bool:
    """Whether spans of the work under way in this thread are kept anywhere; cheaper than to name one for nothing."""
    current = _current_span.get()
    return current is not None and current[1].is_recorded


def parse_traceparent(traceparent: object, tracestate: object = "") -> TraceContext | None:
    """Reads a context.

    Args:
        traceparent: What the caller sent, if anything.
        tracestate: Likewise.

    Returns:
        The context; None where there is none or it is malformed, which starts a new trace, as the standard asks.
    """
    match = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    # Version 00 has exactly four fields; later ones may append more.
    if match is None or (match[4] and match[0].startswith("00")):
        return None
    state = tracestate if isinstance(tracestate, str) and len(tracestate) <= _MAX_TRACESTATE_CHARS else ""
    return TraceContext(match[1], match[2], is_sampled=bool(int(match[3], 16) & 1), state=state)


def outgoing_metadata() -> list[tuple[str, str]]:
    """Metadata that carries the current trace to a peer; empty outside of any."""
    context = current_trace()
    if context is None:
        return []
    return [(TRACEPARENT, context.traceparent()), *([(TRACESTATE, context.state)] if context.state else [])]


def enter_span(tracer: Tracer, span: Span) -> None:
    """Makes a span current for the rest of an RPC. gRPC runs every call in a context of its own, so nothing has to be undone."""
    _current_span.set((tracer, span))


@contextmanager
def span(name: str, kind: SpanKind = "internal", **attributes: AttributeValue) -> Iterator[Span]:
    """Times a piece of work inside a call, for example the run of a model.

    Args:
        name: Low-cardinality name, for example `onnx.run`.
        kind: `client` around a call to something else.
        attributes: Facts about it.

    Yields:
        The span. An exception ends it as failed, with the exception's type as its error.
    """
    current = _current_span.get()
    tracer = current[0] if current is not None else PropagatingTracer()
    started = tracer.start(name, kind, current[1].context if current is not None else None, attributes)
    token = _current_span.set((tracer, started))
    try:
        yield started
    except Exception as error:
        started.end(type(error).__name__)
        raise
    else:
        started.end()
    finally:
        _current_span.reset(token)
