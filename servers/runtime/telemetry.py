"""Chooses how a server is traced."""

from __future__ import annotations

from servers.runtime.settings import ServerSettings
from servers.runtime.tracing import PropagatingTracer, Span, Tracer, current_trace, outgoing_metadata, span

__all__ = ["Span", "Tracer", "current_trace", "open_tracer", "outgoing_metadata", "span"]


def open_tracer(settings: ServerSettings, component: str, version: str) -> Tracer:
    """A tracer for one component.

    Args:
        settings: `otlp_endpoint`, `trace_file` and `trace_sample_ratio`.
        component: Name of the component.
        version: Version of the software.

    Returns:
        A recording tracer where spans go somewhere; one that only names spans otherwise.
    """
    if not settings.otlp_endpoint and settings.trace_file is None:
        return PropagatingTracer()
    from servers.runtime.otel import OtelTracer

    return OtelTracer(settings, component, version)
