"""Spans recorded by the OpenTelemetry SDK. Imported only where they are exported: the SDK costs 0.1 s of start-up."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from servers.runtime.otlp import OtlpExporter
from servers.runtime.settings import ServerSettings
from servers.runtime.tracing import AttributeValue, Parent, Span, TraceContext, context_of
from servers.runtime.tracing import SpanKind as Kind

_KINDS: Mapping[Kind, SpanKind] = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_EXPORT_DELAY_MS = 1000


class OtelTracer:
    """Records spans of one component. Every server has a provider of its own: several of them share a process.

    Args:
        settings: Where spans go, and how many traces are recorded.
        component: The component, which becomes the service name.
        version: Version of the software.
    """

    def __init__(self, settings: ServerSettings, component: str, version: str) -> None:
        self._provider = TracerProvider(
            resource=Resource({"service.name": component, "service.namespace": "mlmesh", "service.version": version}),
            sampler=ParentBased(TraceIdRatioBased(settings.trace_sample_ratio)),
            shutdown_on_exit=False,
        )
        if settings.otlp_endpoint:
            self._provider.add_span_processor(
                BatchSpanProcessor(OtlpExporter(settings.otlp_endpoint), schedule_delay_millis=_EXPORT_DELAY_MS)
            )
        if settings.trace_file is not None:
            self._provider.add_span_processor(SimpleSpanProcessor(TraceFile(settings.trace_file, component)))
        self._tracer = self._provider.get_tracer("mlmesh", version)

    def start(self, name: str, kind: Kind, parent: Parent, attributes: Mapping[str, AttributeValue]) -> Span:
        """Starts a span."""
        parent = context_of(parent)
        context = None if parent is None else trace.set_span_in_context(NonRecordingSpan(_span_context(parent)))
        return _OtelSpan(self._tracer.start_span(name, context, _KINDS[kind], attributes), parent)

    def close(self) -> None:
        """Sends what has not been sent."""
        self._provider.shutdown()


class _OtelSpan:
    def __init__(self, span: trace.Span, parent: TraceContext | None) -> None:
        self._span = span
        context = span.get_span_context()
        self.context = TraceContext(
            trace_id=f"{context.trace_id:032x}",
            span_id=f"{context.span_id:016x}",
            is_sampled=bool(context.trace_flags & TraceFlags.SAMPLED),
            state=parent.state if parent is not None else "",
        )

    @property
    def is_recorded(self) -> bool:
        """Whether the sampler chose its trace."""
        return self._span.is_recording()

    def set(self, key: str, value: AttributeValue) -> None:
        """Adds an attribute."""
        self._span.set_attribute(key, value)

    def end(self, error: str = "") -> None:
        """Ends the span."""
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class TraceFile(SpanExporter):
    """Appends each finished span to a file as one JSON line. Several processes may share the file: one `write` a line.

    Args:
        path: The file; its folder is created.
        component: Name of the component, written into each line.
    """

    def __init__(self, path: Path, component: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._component = component
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes the spans."""
        lines = "".join(json.dumps(_line(span, self._component), separators=(",", ":")) + "\n" for span in spans)
        with self._lock:
            self._file.write(lines)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the file."""
        self._file.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Every line is written at once."""
        del timeout_millis
        return True


def _line(span: ReadableSpan, component: str) -> dict[str, object]:
    context = span.get_span_context()
    started, ended = span.start_time or 0, span.end_time or 0
    return {
        "component": component,
        "name": span.name,
        "kind": span.kind.name.lower(),
        "trace_id": f"{context.trace_id:032x}" if context is not None else "",
        "span_id": f"{context.span_id:016x}" if context is not None else "",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent is not None else "",
        "start_unix_ns": started,
        "duration_ms": (ended - started) / 1e6,
        "error": "" if span.status.is_ok else span.status.description,
        "attributes": dict(span.attributes or {}),
    }


def _span_context(parent: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int(parent.trace_id, 16),
        span_id=int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
