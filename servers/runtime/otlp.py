"""Spans in OTLP, the OpenTelemetry protocol, and the exporter that sends them to a collector.

The messages are declared here, field by field, in a descriptor pool of their own. The published stubs cannot be used: `xds-protos`, which
the gateway needs, overwrites the files of `opentelemetry-proto` with a version of 2021 (ADR 0011).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_LOGGER = logging.getLogger(__name__)
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_TIMEOUT_S = 5.0
_PACKAGE = "mlmesh_otlp"
_STATUS_ERROR = 2

# https://github.com/open-telemetry/opentelemetry-proto, v1.x: numbers and types are what travels, names do not.
_MESSAGES: Mapping[str, Sequence[tuple[int, str, int | str, bool]]] = {
    "AnyValue": [
        (1, "string_value", Field.TYPE_STRING, False),
        (2, "bool_value", Field.TYPE_BOOL, False),
        (3, "int_value", Field.TYPE_INT64, False),
        (4, "double_value", Field.TYPE_DOUBLE, False),
    ],
    "KeyValue": [(1, "key", Field.TYPE_STRING, False), (2, "value", "AnyValue", False)],
    "Resource": [(1, "attributes", "KeyValue", True)],
    "InstrumentationScope": [(1, "name", Field.TYPE_STRING, False), (2, "version", Field.TYPE_STRING, False)],
    "Status": [(2, "message", Field.TYPE_STRING, False), (3, "code", Field.TYPE_INT32, False)],
    "Event": [
        (1, "time_unix_nano", Field.TYPE_FIXED64, False),
        (2, "name", Field.TYPE_STRING, False),
        (3, "attributes", "KeyValue", True),
    ],
    "Span": [
        (1, "trace_id", Field.TYPE_BYTES, False),
        (2, "span_id", Field.TYPE_BYTES, False),
        (3, "trace_state", Field.TYPE_STRING, False),
        (4, "parent_span_id", Field.TYPE_BYTES, False),
        (5, "name", Field.TYPE_STRING, False),
        (6, "kind", Field.TYPE_INT32, False),
        (7, "start_time_unix_nano", Field.TYPE_FIXED64, False),
        (8, "end_time_unix_nano", Field.TYPE_FIXED64, False),
        (9, "attributes", "KeyValue", True),
        (11, "events", "Event", True),
        (15, "status", "Status", False),
    ],
    "ScopeSpans": [(1, "scope", "InstrumentationScope", False), (2, "spans", "Span", True)],
    "ResourceSpans": [(1, "resource", "Resource", False), (2, "scope_spans", "ScopeSpans", True)],
    "ExportTraceServiceRequest": [(1, "resource_spans", "ResourceSpans", True)],
}
# The SDK counts kinds from 0 without UNSPECIFIED.
_KINDS = {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}


def export_request(spans: Sequence[ReadableSpan]) -> bytes:
    """Encodes finished spans.

    Args:
        spans: Spans of one resource.

    Returns:
        An `ExportTraceServiceRequest`, serialized.
    """
    request = _request_class()()
    for_resource = request.resource_spans.add()
    if spans:
        _set_attributes(for_resource.resource.attributes, spans[0].resource.attributes)
    for_scope = for_resource.scope_spans.add()
    for_scope.scope.name = "mlmesh"
    for span in spans:
        _encode(span, for_scope.spans.add())
    encoded: bytes = request.SerializeToString()
    return encoded


class OtlpExporter(SpanExporter):
    """Sends spans to an OTLP gRPC collector.

    Args:
        endpoint: `http://host:port` (plain text), `https://host:port`, or a gRPC target.
    """

    def __init__(self, endpoint: str) -> None:
        parsed = urlsplit(endpoint)
        target = parsed.netloc if parsed.scheme in {"http", "https"} else endpoint
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials()) if parsed.scheme == "https" else grpc.insecure_channel(target)
        )
        self._export = self._channel.unary_unary(_EXPORT, request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw)
        self._endpoint = endpoint
        self._is_reachable = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends a batch; one that cannot be sent is dropped, and said so once."""
        try:
            self._export(export_request(spans), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            if self._is_reachable:
                _LOGGER.warning("traces cannot be sent to %s: %s", self._endpoint, error)
            self._is_reachable = False
            return SpanExportResult.FAILURE
        self._is_reachable = True
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Every batch is sent when it is exported."""
        del timeout_millis
        return True


def message_class(name: str) -> Any:
    """The class of one of the messages above, for whoever receives spans."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _request_class() -> Any:
    return message_class("ExportTraceServiceRequest")


def _encode(span: ReadableSpan, message: Any) -> None:
    context = span.get_span_context()
    if context is not None:
        message.trace_id = context.trace_id.to_bytes(16, "big")
        message.span_id = context.span_id.to_bytes(8, "big")
    if span.parent is not None:
        message.parent_span_id = span.parent.span_id.to_bytes(8, "big")
    message.name = span.name
    message.kind = _KINDS[span.kind.value]
    message.start_time_unix_nano = span.start_time or 0
    message.end_time_unix_nano = span.end_time or 0
    _set_attributes(message.attributes, span.attributes or {})
    if not span.status.is_ok:
        message.status.code = _STATUS_ERROR
        message.status.message = span.status.description or ""


def _set_attributes(target: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        pair = target.add(key=key)
        if isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        else:
            pair.value.string_value = str(value)


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="mlmesh_otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind, is_repeated in fields:
            field = message.field.add(name=field_name, number=number, label=Field.LABEL_REPEATED if is_repeated else Field.LABEL_OPTIONAL)
            if isinstance(kind, str):
                field.type, field.type_name = Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = Field.Type.ValueType(kind)
            if name == "AnyValue":
                field.oneof_index = 0
        if name == "AnyValue":
            # A oneof, so that 0, false and "" are sent too.
            message.oneof_decl.add(name="value")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _pool()
