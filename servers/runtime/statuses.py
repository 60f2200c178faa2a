"""Any exception to one `google.rpc.Status`: the only place where errors meet the wire."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from servers.runtime.database_errors import from_database
from servers.runtime.errors import ERROR_DOMAIN, DomainError, InvalidArgument, ResourceExhausted, Unavailable

MAX_MESSAGE_BYTES = 1024
"""Longest status message, in UTF-8 bytes. It travels twice: in `grpc-message` and inside the rich status."""

MAX_STATUS_BYTES = 4 * 1024
"""Largest rich status, in bytes. Clients lose the status of a call at random above 8 KiB of trailers, to which the message counts three
times more where it is not ASCII: with 4 KiB none of 200 was lost, with 5 KiB 7 (ADR 0008)."""

_MAX_VALUE_BYTES = 512
_MAX_ERROR_INFO_BYTES = 1536
_MAX_VIOLATIONS = 20
_RETRY_UNAVAILABLE_S = 1.0

# A peer's refusal of our own credentials would mislead the caller about hers, so only these pass through.
_PASSED_ON = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


class PeerTimeout(DomainError):
    """A peer did not answer within the deadline of our call to it."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "PEER_TIMEOUT"


def status_of(error: BaseException, request_id: str) -> status_pb2.Status:
    """Says what an exception is to the caller.

    Args:
        error: What was raised.
        request_id: Identifier of the request, so that the caller can quote it.

    Returns:
        A status of at most `MAX_STATUS_BYTES` with exactly one `ErrorInfo`. What is not a known error is INTERNAL, without its text.
    """
    known = as_domain_error(error)
    if known is not None:
        return _rich_status(known, request_id)
    if isinstance(error, grpc.RpcError):
        passed_on = _status_of_peer(error, request_id)
        if passed_on is not None:
            return passed_on
    return _internal(request_id)


def is_internal(status: status_pb2.Status) -> bool:
    """Whether the status hides an error that somebody has to look at."""
    return status.code == code_pb2.INTERNAL


def reason_of(status: status_pb2.Status) -> str:
    """The reason in the status's `ErrorInfo`; empty where it has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info.reason
    return ""


def as_domain_error(error: BaseException) -> DomainError | None:
    """Recognises domain errors, the typed errors of our libraries, and databases that are down, locked or full."""
    if isinstance(error, DomainError):
        return error
    return _from_library(error) or from_database(error)


def _from_library(error: BaseException) -> DomainError | None:
    """Maps errors of the libraries below the servers. Looked up in `sys.modules`: what is not imported cannot have raised."""
    for module, name, convert in _LIBRARY_ERRORS:
        loaded = sys.modules.get(module)
        kind = getattr(loaded, name, None) if loaded is not None else None
        if kind is not None and isinstance(error, kind):
            return convert(error)
    return None


def _bad_field(field: str, reason: str) -> Callable[[BaseException], DomainError]:
    def convert(error: BaseException) -> DomainError:
        allowed = ", ".join(getattr(error, "allowed", ()))
        return InvalidArgument(
            str(error), field_violations=[(field, str(error))], metadata={"allowed": allowed} if allowed else None, reason=reason
        )

    return convert


_LIBRARY_ERRORS: Sequence[tuple[str, str, Callable[[BaseException], DomainError]]] = (
    ("aip_filter", "FilterError", _bad_field("filter", "FILTER_INVALID")),
    ("aip_filter", "OrderByError", _bad_field("order_by", "ORDER_BY_INVALID")),
    ("aip_filter", "PageTokenError", _bad_field("page_token", "PAGE_TOKEN_INVALID")),
    (
        "blob_store",
        "StorageFull",
        lambda _error: ResourceExhausted(
            "The storage is full; free space or enlarge it, then repeat the call.", reason="STORAGE_FULL", retry_after_s=30
        ),
    ),
    (
        "blob_store",
        "StoreUnavailable",
        lambda _error: Unavailable("The blob store does not answer; try again.", reason="BLOB_STORE_UNAVAILABLE", retry_after_s=1),
    ),
)


def _rich_status(error: DomainError, request_id: str) -> status_pb2.Status:
    details: list[Message] = [_error_info(error)]
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(max(0.0, error.retry_after_s) * 1e9))
        details.append(retry)
    if error.resource is not None:
        kind, name = error.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_clip(name, _MAX_VALUE_BYTES)))
    if error.preconditions:
        violation = error_details_pb2.PreconditionFailure.Violation
        details.append(
            error_details_pb2.PreconditionFailure(
                violations=[
                    violation(type=kind, subject=_clip(subject, 256), description=_clip(text, _MAX_VALUE_BYTES))
                    for kind, subject, text in error.preconditions[:_MAX_VIOLATIONS]
                ]
            )
        )
    if error.field_violations:
        details.append(_bad_request(error.field_violations))
    details.append(error_details_pb2.RequestInfo(request_id=request_id))
    return _assembled(error.code.value[0], error.message, details)


def _error_info(error: DomainError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=error.reason[:63], domain=ERROR_DOMAIN)
    for key, value in error.metadata.items():
        entry = error_details_pb2.ErrorInfo(metadata={_clip(key, 64): _clip(value, _MAX_VALUE_BYTES)})
        if info.ByteSize() + entry.ByteSize() > _MAX_ERROR_INFO_BYTES:
            break
        info.MergeFrom(entry)
    return info


def _bad_request(violations: Sequence[tuple[str, str]]) -> error_details_pb2.BadRequest:
    shown = [
        error_details_pb2.BadRequest.FieldViolation(field=_clip(field, 256), description=_clip(text, _MAX_VALUE_BYTES))
        for field, text in violations[:_MAX_VIOLATIONS]
    ]
    if len(violations) > _MAX_VIOLATIONS:
        shown.append(error_details_pb2.BadRequest.FieldViolation(description=f"… and {len(violations) - _MAX_VIOLATIONS} more."))
    return error_details_pb2.BadRequest(field_violations=shown)


def _assembled(code: int, message: str, details: Sequence[Message]) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=_clip(message, MAX_MESSAGE_BYTES))
    for position, detail in enumerate(details):
        _shrink(detail, MAX_STATUS_BYTES - status.ByteSize() - 256)
        # ErrorInfo comes first and always fits; a later detail that cannot be cut down to the room left is dropped.
        if position == 0 or status.ByteSize() + detail.ByteSize() + 128 <= MAX_STATUS_BYTES:
            status.details.add().Pack(detail)
    return status


def _shrink(detail: Message, room_bytes: int) -> None:
    violations = getattr(detail, "violations", None) or getattr(detail, "field_violations", None)
    while violations and detail.ByteSize() > room_bytes:
        violations.pop()


def _status_of_peer(error: grpc.RpcError, request_id: str) -> status_pb2.Status | None:
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        late = "A server that this one needs did not answer in time; the call may or may not have had its effect."
        return _rich_status(PeerTimeout(late), request_id)
    if code not in _PASSED_ON or not isinstance(error, grpc.Call):
        return None
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    if status is not None and reason_of(status):
        return status
    if code is grpc.StatusCode.UNAVAILABLE:
        unavailable = Unavailable(
            "A server that this one needs does not answer; try again.", reason="PEER_UNAVAILABLE", retry_after_s=_RETRY_UNAVAILABLE_S
        )
        return _rich_status(unavailable, request_id)
    return None


def _internal(request_id: str) -> status_pb2.Status:
    return _assembled(
        code_pb2.INTERNAL,
        f"Internal error. The server's log has the cause under request id {request_id}.",
        [
            error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN),
            error_details_pb2.RequestInfo(request_id=request_id),
        ],
    )


def _clip(text: str, limit_bytes: int) -> str:
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit_bytes:
        return raw.decode("utf-8")
    return raw[: limit_bytes - 3].decode("utf-8", "ignore") + "…"
