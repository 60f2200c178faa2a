"""A collector of spans in memory: the receiving side of OTLP."""

from __future__ import annotations

from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc

from servers.runtime.otlp import message_class

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Collector(grpc.GenericRpcHandler):
    """Keeps every span that is sent to it."""

    spans: list[Any] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != _EXPORT:
            return None
        decode = message_class("ExportTraceServiceRequest").FromString
        return grpc.unary_unary_rpc_method_handler(self._export, request_deserializer=decode, response_serializer=bytes)

    def start(self) -> tuple[grpc.Server, int]:
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[self])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return server, port

    def _export(self, request: Any, context: grpc.ServicerContext) -> bytes:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return b""
