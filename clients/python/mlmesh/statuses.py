"""gRPC statuses to exceptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mlmesh.errors import ERRORS_BY_CODE, FieldViolation, MeshError, Unknown

_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-request-id"

_M = TypeVar("_M", bound=Message)


def error_of_call(error: grpc.RpcError) -> MeshError:
    """Returns the exception for a call that failed.

    Args:
        error: What grpc or grpc.aio raised.
    """
    if not (hasattr(error, "code") and hasattr(error, "details") and hasattr(error, "trailing_metadata")):
        return Unknown(str(error))
    pairs = [*_pairs(error.trailing_metadata()), *(_pairs(error.initial_metadata()) if hasattr(error, "initial_metadata") else ())]
    # Read from the back, so that of a key that is there twice the first one counts, and a trailer before a header.
    metadata = dict(reversed(pairs))
    request_id = str(metadata.get(_REQUEST_ID_KEY, ""))
    rich = _rich_status(metadata.get(_DETAILS_KEY))
    if rich is not None:
        return error_of_status(rich, request_id)
    code: grpc.StatusCode = error.code()
    return ERRORS_BY_CODE.get(code.name, Unknown)(error.details() or code.name, request_id=request_id)


def error_of_status(status: status_pb2.Status, request_id: str = "") -> MeshError:
    """Returns the exception for a status, as it ends a stream or is stored in a resource.

    Args:
        status: A status whose code is not OK.
        request_id: Identifier of the request, where the status does not have it.
    """
    info = _detail(status, error_details_pb2.ErrorInfo())
    bad_request = _detail(status, error_details_pb2.BadRequest())
    retry = _detail(status, error_details_pb2.RetryInfo())
    request = _detail(status, error_details_pb2.RequestInfo())
    kind = ERRORS_BY_CODE.get(code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "", Unknown)
    return kind(
        status.message or kind.code,
        reason=info.reason if info else "",
        hint=_hint(status),
        field_violations=[FieldViolation(one.field, one.description) for one in bad_request.field_violations] if bad_request else (),
        metadata=dict(info.metadata) if info else {},
        request_id=(request.request_id if request else "") or request_id,
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
    )


def _hint(status: status_pb2.Status) -> str:
    help_ = _detail(status, error_details_pb2.Help())
    if help_ is not None and help_.links:
        return " ".join(filter(None, (help_.links[0].description, help_.links[0].url)))
    failure = _detail(status, error_details_pb2.PreconditionFailure())
    if failure is not None and failure.violations and failure.violations[0].description not in status.message:
        return failure.violations[0].description
    return ""


def _rich_status(value: Any) -> status_pb2.Status | None:
    if not isinstance(value, bytes):
        return None
    try:
        status = status_pb2.Status.FromString(value)
    except DecodeError:
        return None
    return status if status.code else None


def _detail(status: status_pb2.Status, empty: _M) -> _M | None:
    return next((empty for detail in status.details if detail.Unpack(empty)), None)


def _pairs(metadata: Any) -> Iterable[tuple[str, Any]]:
    return ((str(key), value) for key, value in (metadata or ()))
