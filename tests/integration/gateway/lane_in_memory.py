"""A lane before a component in memory: the same methods and answers as its gRPC server has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_status import rpc_status

from servers.runtime.calls import Behaviour, Call, Interceptor, Method
from servers.runtime.errors import DomainError
from servers.runtime.interceptors.codec import Codec
from servers.runtime.lane.context import LaneContext
from servers.runtime.lane.endpoints import Endpoints, Serve
from servers.runtime.lane.listener import Lane
from servers.runtime.lane.loop import LoopThread
from servers.runtime.lane.rest_codec import RestCodec, bindings_of
from servers.runtime.lane.wires import RestWire
from servers.runtime.registration import PUBLIC
from servers.runtime.statuses import status_of


@dataclass(frozen=True)
class _Details:
    """What gRPC says of a call before it is served."""

    method: str
    invocation_metadata: Any


class LaneInMemory:
    """Serves some services on a Unix socket.

    Args:
        path: The socket.
        services: Full names of services.
        handler: Serves calls of them.
    """

    def __init__(self, path: Path, services: list[str], handler: grpc.GenericRpcHandler) -> None:
        self.is_ready = True
        self._thread = LoopThread(path.stem)
        self._pool = futures.ThreadPoolExecutor(16)
        endpoints = Endpoints()
        for service in services:
            for descriptor in descriptor_pool.Default().FindServiceByName(service).methods:
                if not (descriptor.client_streaming and descriptor.server_streaming):
                    _add(endpoints, descriptor, handler)
        self._lane = Lane(f"unix:{path}", self._thread, self._pool, endpoints, max_message_bytes=16 << 20, is_ready=lambda: self.is_ready)
        self._lane.start()

    def stop(self) -> None:
        self._lane.close()
        self._thread.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _add(endpoints: Endpoints, descriptor: MethodDescriptor, handler: grpc.GenericRpcHandler) -> None:
    request_class = message_factory.GetMessageClass(descriptor.input_type)
    response_class = message_factory.GetMessageClass(descriptor.output_type)
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    is_streaming = descriptor.client_streaming, descriptor.server_streaming
    method = Method(path, PUBLIC, request_class, response_class, *is_streaming)

    def behaviour(request: Any, call: Call) -> Any:
        found: Any = handler.service(_Details(path, call.context.invocation_metadata()))  # type: ignore[arg-type]
        serve = found.unary_unary or found.unary_stream or found.stream_unary
        return serve(request, call.context)

    endpoints.add_grpc(method, _served(method, behaviour, Codec(request_class.FromString, response_class.SerializeToString)))
    for binding in bindings_of(descriptor):
        endpoints.add_rest(method, _served(method, behaviour, RestCodec(binding.body_field)), binding, RestWire())


def _served(method: Method, behaviour: Behaviour, codec: Interceptor) -> Serve:
    inner = codec.wrap(method, behaviour)
    never = threading.Event()

    def call_of(context: LaneContext) -> Call:
        return Call(method, context, context.header, never)

    def one(request: Any, context: LaneContext) -> Any:
        return _refusing(context, lambda: inner(request, call_of(context)))

    def many(request: Any, context: LaneContext) -> Iterator[Any]:
        answers = _refusing(context, lambda: iter(inner(request, call_of(context))))
        end = object()
        while (answer := _refusing(context, lambda: next(answers, end))) is not end:
            yield answer

    return many if method.response_streaming else one


def _refusing(context: LaneContext, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except DomainError as error:
        context.abort_with_status(rpc_status.to_status(status_of(error, "")))
