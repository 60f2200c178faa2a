"""Turns exceptions into rich statuses, for all four kinds of RPC."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import NamedTuple, cast

import grpc
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from servers.runtime.admission import REFUSED, Stopping
from servers.runtime.calls import Behaviour, Call, Method, guarded
from servers.runtime.statuses import is_internal, status_of

_LOGGER = logging.getLogger(__name__)


class ErrorInterceptor:
    """Ends a failed call with the status of its exception; logs those that nobody foresaw."""

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that raises nothing but gRPC's own abort."""
        return guarded(method, inner, _Statuses)


class _Statuses:
    """Ends one call with the status of its exception."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        """Nothing has happened yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception):
            return
        call = self._call
        if not call.context.is_active():
            # The caller left or ran out of time: whatever broke by that is nobody's bug, and nobody reads the status.
            call.status = status_pb2.Status(code=code_pb2.CANCELLED)
            call.context.abort(grpc.StatusCode.CANCELLED, "The caller left.")
        call.status = status_of(error, call.request_id)
        if is_internal(call.status):
            _LOGGER.error("%s failed", call.method.path, exc_info=error, extra={"request_id": call.request_id})
        call.context.abort_with_status(_wire_status(call.status, was_refused=isinstance(error, Stopping)))


class _Status(NamedTuple):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def _wire_status(status: status_pb2.Status, was_refused: bool) -> grpc.Status:
    packed = rpc_status.to_status(status)
    trailers = (*(packed.trailing_metadata or ()), *([(REFUSED, "1")] if was_refused else []))
    return cast(grpc.Status, _Status(packed.code, packed.details, trailers))
