from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class Refusal:
    """A failed call, its details unpacked."""

    code: grpc.StatusCode
    message: str
    details: list[Any]
    size_bytes: int

    def all_of(self, kind: type) -> list[Any]:
        return [detail for detail in self.details if isinstance(detail, kind)]

    def the(self, kind: type) -> Any:
        (detail,) = self.all_of(kind)
        return detail

    @property
    def reason(self) -> str:
        return self.the(error_details_pb2.ErrorInfo).reason

    @property
    def fields(self) -> dict[str, str]:
        return {violation.field: violation.description for violation in self.the(error_details_pb2.BadRequest).field_violations}


_KINDS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
    error_details_pb2.RequestInfo,
)


def refusal_of(error: grpc.RpcError) -> Refusal:
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} {error.details()!r} has no details"
    details = []
    for packed in status.details:
        detail = next(kind() for kind in _KINDS if packed.Is(kind.DESCRIPTOR))
        packed.Unpack(detail)
        details.append(detail)
    return Refusal(error.code(), status.message, details, status.ByteSize())


def refused(call: Callable[[], Any]) -> Refusal:
    """Makes a call that has to fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return refusal_of(caught.value)
