"""Puts servicers on a gRPC server, each method inside its interceptors.

Handlers are wrapped once, here, rather than intercepted on each call: gRPC runs `ServerInterceptor`s on its one polling thread, and it
would decode requests outside of them (ADR 0007).
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from mlops.common.v1.options_pb2 import (
    ACCESS_PERMISSION,
    ACCESS_PUBLIC,
    ACCESS_UNSPECIFIED,
    IDEMPOTENCY_NOT_IDEMPOTENT,
    RATE_CLASS_READ,
    MethodPolicy,
    policy,
)

from servers.runtime.calls import Behaviour, Call, Header, Interceptor, Method, enter_call
from servers.runtime.interceptors.codec import Codec
from servers.runtime.lane.context import LaneContext
from servers.runtime.lane.endpoints import Endpoints
from servers.runtime.lane.loop import LoopThread
from servers.runtime.lane.rest_codec import RestCodec, bindings_of
from servers.runtime.lane.wires import RestWire

PUBLIC = MethodPolicy(access=ACCESS_PUBLIC, idempotency=IDEMPOTENCY_NOT_IDEMPOTENT, rate_class=RATE_CLASS_READ)
"""Policy for a contract that is not ours and checks its callers in another way, for example Envoy's ext_authz."""


class ContractError(Exception):
    """A contract lacks what the runtime needs to serve it; the server does not start."""


@dataclass(frozen=True)
class Registration:
    """One servicer to serve.

    Args:
        add: The generated `add_<Service>Servicer_to_server`.
        servicer: The implementation.
        policy: For contracts that are not ours: one policy for every method, or a policy a method, by name. Ours carry theirs: None.
        rest_error: Writes the JSON of errors of REST calls where a protocol wants another shape than ours.
        project_header: Header that names the project, in lower case, for protocols whose requests have no field for it; empty = none does.
    """

    add: Callable[[Any, Any], None]
    servicer: Any
    policy: MethodPolicy | Mapping[str, MethodPolicy] | None = None
    rest_error: Callable[[status_pb2.Status], bytes] | None = None
    project_header: str = ""


@dataclass(frozen=True)
class Pipeline:
    """The interceptors of a server.

    Args:
        outer: Those that see bytes, outermost first: telemetry, errors, authentication.
        inner: Those that see messages, outermost first: authorization, validation, idempotency, audit.
        stopping: Set when the server begins to stop; endless streams look at it.
        loop: Runs the methods that are coroutines, whichever way they were called.
    """

    outer: Sequence[Interceptor]
    inner: Sequence[Interceptor]
    stopping: threading.Event
    loop: LoopThread


def register(
    server: grpc.Server, registrations: Iterable[Registration], pipeline: Pipeline, lane: Endpoints | None = None
) -> tuple[str, ...]:
    """Adds servicers to a server.

    Args:
        server: A server that has not started.
        registrations: What to add.
        pipeline: What to put around each method.
        lane: Takes them too.

    Returns:
        Full names of the services added.

    Raises:
        ContractError: A method has no policy, or one that contradicts itself.
    """
    services: list[str] = []
    for registration in registrations:
        recorder = _Recorder()
        registration.add(registration.servicer, recorder)
        for service, handlers in recorder.handlers.items():
            methods = {name: _method(service, name, handler, registration.policy) for name, handler in handlers.items()}
            wrapped = {name: _for_grpc(methods[name], handler, pipeline, registration) for name, handler in handlers.items()}
            if lane is not None:
                for name, handler in handlers.items():
                    _add_to_lane(lane, methods[name], handler, pipeline, registration)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
            server.add_registered_method_handlers(service, wrapped)
            services.append(service)
    return tuple(services)


class _Recorder:
    """Stands in for a server and keeps what generated code registers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]] = {}

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Ignored: the registered handlers below carry the same."""

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Keeps the handlers of a service."""
        self.handlers[service_name] = method_handlers


def _method(
    service: str, name: str, handler: grpc.RpcMethodHandler[Any, Any], given: MethodPolicy | Mapping[str, MethodPolicy] | None
) -> Method:
    path = f"/{service}/{name}"
    if given is not None:
        own = given if isinstance(given, MethodPolicy) else given.get(name)
        if own is None:
            raise ContractError(f"{path} has no policy: Registration(policy=...) leaves it out, and has to name every method")
        _check(path, own)
        return Method(path, own, None, None, handler.request_streaming, handler.response_streaming)
    try:
        descriptor = _descriptor(path)
    except KeyError:
        raise ContractError(f"{path}: no descriptor is loaded; a contract that is not ours needs Registration(policy=...)") from None
    own = descriptor.GetOptions().Extensions[policy]
    _check(path, own)
    return Method(
        path,
        own,
        _class_of(descriptor.input_type),
        _class_of(descriptor.output_type),
        handler.request_streaming,
        handler.response_streaming,
    )


def _descriptor(path: str) -> MethodDescriptor:
    _, service, name = path.split("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


def _class_of(descriptor: Any) -> type[Message]:
    return message_factory.GetMessageClass(descriptor)


def _check(path: str, own: MethodPolicy) -> None:
    if own.access == ACCESS_UNSPECIFIED:
        raise ContractError(f"{path} has no option (mlops.common.v1.policy), so nobody could say who may call it")
    if (own.access == ACCESS_PERMISSION) != bool(own.permission):
        raise ContractError(f"{path}: a permission goes with ACCESS_PERMISSION, and only with it")


def _for_grpc(
    method: Method, handler: grpc.RpcMethodHandler[Any, Any], pipeline: Pipeline, registration: Registration
) -> grpc.RpcMethodHandler[Any, Any]:
    """GRPC's own server calls a method in a thread; a coroutine runs on the loop meanwhile."""
    servicer = _servicer_method(handler)
    behaviour: Behaviour = lambda request, call: servicer(request, call.context)  # noqa: E731
    if inspect.iscoroutinefunction(servicer):
        behaviour = (_one_by_one if method.request_streaming and method.response_streaming else _awaited)(servicer, pipeline.loop)
    codec = Codec(handler.request_deserializer, handler.response_serializer)
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[(method.request_streaming, method.response_streaming)]
    header: Callable[[Any], Header] = lambda context: dict(context.invocation_metadata() or ()).get  # noqa: E731
    return make(_served(method, behaviour, codec, pipeline, header, registration.project_header))


def _awaited(servicer: Any, loop: LoopThread) -> Behaviour:
    def waiting(request: Any, call: Call) -> Any:
        running = loop.submit(servicer(request, call.context))
        if not call.context.add_callback(lambda: _cancel(running)):
            _cancel(running)  # the caller has left already
        return running.result()

    return waiting


def _one_by_one(servicer: Any, loop: LoopThread) -> Behaviour:
    """A coroutine that serves a stream in both directions answers each request by itself, in the order of the stream."""

    def answers(requests: Iterator[Any], call: Call) -> Iterator[Any]:
        under_way: list[Future[Any]] = []

        def leave() -> None:
            for running in under_way:
                running.cancel()

        is_there = call.context.add_callback(leave)
        for request in requests:
            running = loop.submit(servicer(request, call.context))
            under_way[:] = [running]
            if not is_there:
                leave()
            yield running.result()

    return answers


def _cancel(running: Future[Any]) -> None:
    running.cancel()


def _add_to_lane(
    lane: Endpoints, method: Method, handler: grpc.RpcMethodHandler[Any, Any], pipeline: Pipeline, registration: Registration
) -> None:
    """The lane has no streams in both directions at once, and plain REST only where the body is bytes."""
    if method.request_streaming and method.response_streaming:
        return
    servicer = _servicer_method(handler)
    method = replace(method, is_coroutine=inspect.iscoroutinefunction(servicer))
    behaviour: Behaviour = lambda request, call: servicer(request, call.context)  # noqa: E731
    codec = Codec(handler.request_deserializer, handler.response_serializer)
    header: Callable[[LaneContext], Header] = lambda context: context.header  # noqa: E731
    lane.add_grpc(method, _served(method, behaviour, codec, pipeline, header, registration.project_header))
    if registration.policy is not None:
        return
    for binding in bindings_of(_descriptor(method.path)):
        served = _served(method, behaviour, RestCodec(binding.body_field), pipeline, header, registration.project_header)
        lane.add_rest(method, served, binding, RestWire(registration.rest_error))


def _servicer_method(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def _served(
    method: Method, behaviour: Behaviour, codec: Interceptor, pipeline: Pipeline, header: Callable[[Any], Header], project_header: str
) -> Callable[[Any, Any], Any]:
    for interceptor in reversed((*pipeline.outer, codec, *pipeline.inner)):
        behaviour = interceptor.wrap(method, behaviour)
    stopping = pipeline.stopping

    def serve(request: Any, context: grpc.ServicerContext) -> Any:
        call = Call(method, context, header(context), stopping)
        if project_header and isinstance(project := call.header(project_header), str) and project:
            call.project = project  # what a request without a project of its own inherits, so permissions are checked in this one
        enter_call(call)
        return behaviour(request, call)

    return serve
