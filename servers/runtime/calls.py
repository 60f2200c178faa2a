"""One RPC in flight, and the method it belongs to."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from mlops.common.v1.options_pb2 import MethodPolicy

from servers.runtime.principals import ANONYMOUS, Principal

DEFAULT_PROJECT = "default"
"""Project of a request that names none."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


@dataclass(frozen=True)
class Method:
    """What the contract says about a method.

    Args:
        path: Full name as it travels, `/mlops.users.v1.UserService/GetMe`.
        policy: The method's option `mlops.common.v1.policy`.
        request_class: Class of its requests; None for a contract outside the default descriptor pool.
        response_class: Class of its responses, likewise.
        request_streaming: Whether the client sends a stream.
        response_streaming: Whether the server sends a stream.
        is_coroutine: Whether the servicer's method is a coroutine function, which the server's event loop runs.
    """

    path: str
    policy: MethodPolicy
    request_class: type[Message] | None
    response_class: type[Message] | None
    request_streaming: bool
    response_streaming: bool
    is_coroutine: bool = False


Header = Callable[[str], str | bytes | None]
"""Finds a header of a request."""


class Call:
    """Everything the interceptors learn about one RPC, from its first to its last message.

    Args:
        method: What is called.
        context: gRPC's view of the call.
        header: Finds a header of the request by its lower-case name.
        stopping: Set when the server begins to stop.
    """

    __slots__ = ("_request_id", "context", "header", "is_repeat", "method", "principal", "project", "resource", "status", "stopping")

    def __init__(self, method: Method, context: grpc.ServicerContext, header: Header, stopping: threading.Event) -> None:
        self.method = method
        self.context = context
        self.header = header
        self.stopping = stopping
        self._request_id = ""
        self.principal: Principal = ANONYMOUS
        self.project = DEFAULT_PROJECT
        self.resource = ""
        self.is_repeat = False
        self.status: status_pb2.Status | None = None

    @property
    def request_id(self) -> str:
        """Identifier that the caller, or else this server, gave the request."""
        if not self._request_id:
            self._request_id = _request_id(self.header("x-request-id"))
        return self._request_id


Behaviour = Callable[[Any, Call], Any]
"""A handler of any kind: takes a request or an iterator of them, gives a response, an iterator of them, or a coroutine."""


class Interceptor(Protocol):
    """Adds one concern to a method. Called once a method, when the server is built."""

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that does its part around `inner`."""


_current: ContextVar[Call] = ContextVar("mlmesh_call")


def current_call() -> Call:
    """The call that this thread serves.

    Raises:
        LookupError: Outside a call, for example in a thread that a servicer started.
    """
    return _current.get()


def enter_call(call: Call) -> None:
    """Makes `call` current. gRPC runs every call in a context of its own, so nothing has to be undone."""
    _current.set(call)


def guarded(method: Method, inner: Behaviour, guard: Callable[[Call], AbstractContextManager[object]]) -> Behaviour:
    """Runs a whole call, the iteration of its responses included, inside a context manager."""
    if method.is_coroutine:

        async def awaited(request: Any, call: Call) -> Any:
            with guard(call):
                return await inner(request, call)

        return awaited
    if not method.response_streaming:

        def unary(request: Any, call: Call) -> Any:
            with guard(call):
                return inner(request, call)

        return unary

    def streaming(request: Any, call: Call) -> Iterator[Any]:
        with guard(call):
            yield from inner(request, call)

    return streaming


def checking(method: Method, inner: Behaviour, check: Callable[[Any, Call], None]) -> Behaviour:
    """Checks every request message before the servicer sees it."""
    if not method.request_streaming:

        def one(request: Any, call: Call) -> Any:
            check(request, call)
            return inner(request, call)

        return one

    def many(requests: Iterator[Any], call: Call) -> Any:
        return inner(_checked(requests, call, check), call)

    return many


def _checked(requests: Iterator[Any], call: Call, check: Callable[[Any, Call], None]) -> Iterator[Any]:
    for request in requests:
        check(request, call)
        yield request


def _request_id(sent: str | bytes | None) -> str:
    if isinstance(sent, str) and _REQUEST_ID.fullmatch(sent):
        return sent
    return str(uuid.uuid4())
