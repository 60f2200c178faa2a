"""Envoy's spans, written to the trace file beside those of the servers: a trace can be read whole without any collector."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from servers.runtime.otlp import message_class

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_COMPONENT = "gateway"
_ERROR = 2


class SpanFile:
    """Takes spans in OTLP and appends each to a file as one JSON line.

    Args:
        path: The file; several processes may share it, since each line is one `write`.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def export(self, request: Any, context: grpc.ServicerContext) -> bytes:
        """Serves `TraceService/Export`; the answer is an empty message."""
        del context
        lines = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in _lines(request))
        with self._lock:
            self._file.write(lines)
        return b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def add_span_file(servicer: SpanFile, server: Any) -> None:
    """Adds the OTLP trace service to a server."""
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.export,
        request_deserializer=message_class("ExportTraceServiceRequest").FromString,
        response_serializer=bytes,
    )
    server.add_registered_method_handlers(_SERVICE, {"Export": handler})


def _lines(request: Any) -> Iterator[dict[str, object]]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _line(span)


def _line(span: Any) -> dict[str, object]:
    return {
        "component": _COMPONENT,
        "name": span.name,
        "kind": _KINDS.get(span.kind, "internal"),
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "start_unix_ns": span.start_time_unix_nano,
        "duration_ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
        "error": (span.status.message or "error") if span.status.code == _ERROR else "",
        "attributes": {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in span.attributes},
    }
