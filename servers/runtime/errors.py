"""Errors that a server answers with on purpose.

A domain raises a subclass of `DomainError`; the errors interceptor turns it into a rich gRPC status. Nothing else in a server
knows about status codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from grpc import StatusCode

ERROR_DOMAIN = "mlmesh"
"""Domain of every `google.rpc.ErrorInfo` the mesh sends."""


class _CodeOnDemand:
    """A gRPC code that is looked up when somebody asks: processes that only raise errors do without gRPC, which takes them 16 MiB."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: object) -> StatusCode:
        from grpc import StatusCode

        return StatusCode[self._name]


def _code(name: str) -> StatusCode:
    return cast("StatusCode", _CodeOnDemand(name))


class DomainError(Exception):
    """A refusal or failure with a stable reason.

    A subclass states its gRPC `code` and its `reason` (UPPER_SNAKE_CASE, at most 63 characters); an instance adds what happened.

    Args:
        message: What is wrong, what is allowed, and what to do next, in English.
        metadata: Facts for programs, sent as `ErrorInfo.metadata`. Never secrets.
        field_violations: Pairs of request field path and description, sent as `BadRequest`.
        preconditions: Triples of type, subject and description, sent as `PreconditionFailure`.
        resource: Pair of resource type and name, sent as `ResourceInfo`.
        retry_after_s: Seconds after which a retry may succeed, sent as `RetryInfo`.
    """

    code: ClassVar[StatusCode] = _code("UNKNOWN")
    reason: str = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        field_violations: Iterable[tuple[str, str]] = (),
        preconditions: Iterable[tuple[str, str, str]] = (),
        resource: tuple[str, str] | None = None,
        retry_after_s: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.preconditions = tuple(preconditions)
        self.resource = resource
        self.retry_after_s = retry_after_s
        if reason is not None:
            self.reason = reason


class InvalidArgument(DomainError):
    """The request is wrong whatever the state of the system."""

    code = _code("INVALID_ARGUMENT")
    reason = "INVALID_ARGUMENT"


class NotFound(DomainError):
    """What the request names does not exist."""

    code = _code("NOT_FOUND")
    reason = "NOT_FOUND"


class AlreadyExists(DomainError):
    """What the request would create exists."""

    code = _code("ALREADY_EXISTS")
    reason = "ALREADY_EXISTS"


class FailedPrecondition(DomainError):
    """The state of the system forbids it; the message names the state and the allowed ones."""

    code = _code("FAILED_PRECONDITION")
    reason = "FAILED_PRECONDITION"


class Aborted(DomainError):
    """Lost against a concurrent change; read again, then repeat."""

    code = _code("ABORTED")
    reason = "ABORTED"


class PermissionDenied(DomainError):
    """The caller is known and may not."""

    code = _code("PERMISSION_DENIED")
    reason = "PERMISSION_DENIED"


class Unauthenticated(DomainError):
    """The caller is not known."""

    code = _code("UNAUTHENTICATED")
    reason = "UNAUTHENTICATED"


class ResourceExhausted(DomainError):
    """A quota or a disk is full."""

    code = _code("RESOURCE_EXHAUSTED")
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(DomainError):
    """Something the server needs does not answer; a retry is safe where the method says so."""

    code = _code("UNAVAILABLE")
    reason = "UNAVAILABLE"


class Unimplemented(DomainError):
    """The server does not know how."""

    code = _code("UNIMPLEMENTED")
    reason = "UNIMPLEMENTED"
