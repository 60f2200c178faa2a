"""How a call is made: token, deadline, request id, trace context, and errors as exceptions."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from mlmesh.policies import CallPolicy, policy_of
from mlmesh.statuses import error_of_call
from mlmesh.sync.tokens import Tokens
from mlmesh.tracing import trace_metadata

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)

Metadata = tuple[tuple[str, str | bytes], ...]


class Caller:
    """Makes calls over one channel.

    Args:
        tokens: Tokens to send; None = calls are made as nobody.
        timeout_s: Deadline of a call that does not state one, in seconds.
        transfer_timeout_s: The same for calls that move bytes in bulk.
    """

    def __init__(self, tokens: Tokens | None, *, timeout_s: float, transfer_timeout_s: float) -> None:
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._transfer_timeout_s = transfer_timeout_s

    def unary(
        self,
        call: grpc.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> _Response:
        """Sends a request and returns the answer.

        Raises:
            mlmesh.errors.MeshError: The call failed.
        """
        policy = policy_of(request)
        request = _with_request_id(request, policy)
        may_repeat = True
        while True:
            token = self._token(policy)
            try:
                return call(request, timeout=self._deadline(policy, timeout_s), metadata=_metadata(token, metadata))
            except grpc.RpcError as error:
                if not (may_repeat and self._is_renewed(error, token)):
                    raise error_of_call(error) from error
                may_repeat = False

    def stream(
        self,
        call: grpc.UnaryStreamMultiCallable[_Request, _Response],
        request: _Request,
        *,
        timeout_s: float | None = None,
    ) -> Iterator[_Response]:
        """Sends a request and yields the messages of the answer.

        Raises:
            mlmesh.errors.MeshError: The call failed, perhaps after some messages.
        """
        policy = policy_of(request)
        may_repeat = True
        while True:
            token = self._token(policy)
            answers = call(request, timeout=self._deadline(policy, timeout_s), metadata=_metadata(token, ()))
            try:
                for answer in answers:
                    may_repeat = False
                    yield answer
                return
            except grpc.RpcError as error:
                if not (may_repeat and self._is_renewed(error, token)):
                    raise error_of_call(error) from error
                may_repeat = False
            finally:
                # Where the caller stops half-way the server should, too.
                answers.cancel()

    def upload(
        self,
        call: grpc.StreamUnaryMultiCallable[_Request, _Response],
        request_type: type[_Request],
        requests: Iterator[_Request],
        *,
        timeout_s: float | None = None,
    ) -> _Response:
        """Sends a stream of requests and returns the answer.

        Raises:
            mlmesh.errors.MeshError: The call failed.
        """
        metadata, deadline_s = self.terms(request_type, timeout_s)
        try:
            return call(requests, timeout=deadline_s, metadata=metadata)
        except grpc.RpcError as error:
            raise error_of_call(error) from error

    def terms(self, request_type: type[Message], timeout_s: float | None) -> tuple[Metadata, float]:
        """Returns what a call is made with, also where it is not made by gRPC: its metadata, and its deadline in seconds.

        Args:
            request_type: Type of its requests.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.MeshError: There is no token to be had.
        """
        policy = policy_of(request_type)
        return _metadata(self._token(policy), ()), self._deadline(policy, timeout_s)

    def deadline_s(self, request_type: type[Message], timeout_s: float | None) -> float:
        """Returns the deadline that a call is made with, in seconds.

        Args:
            request_type: Type of its requests.
            timeout_s: Deadline that the caller states, in seconds; None = the connection's.
        """
        return self._deadline(policy_of(request_type), timeout_s)

    def _deadline(self, policy: CallPolicy, timeout_s: float | None) -> float:
        if timeout_s is not None:
            return timeout_s
        return self._transfer_timeout_s if policy.is_transfer else self._timeout_s

    def _token(self, policy: CallPolicy) -> str:
        return self._tokens.current() if self._tokens is not None and policy.needs_token else ""

    def _is_renewed(self, error: grpc.RpcError, token: str) -> bool:
        """Whether the call failed for its token, and another token can be had. Nothing was done then, so any call may be repeated."""
        status: Any = error
        if not token or self._tokens is None or status.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return False
        return self._tokens.discard(token)


def _with_request_id(request: _Request, policy: CallPolicy) -> _Request:
    if not policy.takes_request_id:
        return request
    named: Any = type(request)()
    named.CopyFrom(request)
    named.request_id = named.request_id or str(uuid.uuid4())
    copied: _Request = named
    return copied


def _metadata(token: str, more: Metadata) -> Metadata:
    authorization = (("authorization", f"Bearer {token}"),) if token else ()
    return (*authorization, *more, *trace_metadata())
