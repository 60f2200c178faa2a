"""Trace context: a call made inside a span is part of its trace."""

from __future__ import annotations

import sys


def trace_metadata() -> list[tuple[str, str]]:
    """Returns the W3C trace context of the current span as gRPC metadata; empty where the program does not use OpenTelemetry.

    OpenTelemetry is never imported for this: what nobody imported has no active span.
    """
    if "opentelemetry.trace" not in sys.modules:
        return []
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return list(carrier.items())
