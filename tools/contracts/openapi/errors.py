"""Answers other than 200. All have one JSON shape, whether a server or the gateway itself gives them; or that of a protocol of others."""

from __future__ import annotations

from dataclasses import dataclass

from tools.contracts.openapi import feast, open_inference
from tools.contracts.openapi.constraints import Schema
from tools.contracts.openapi.schemas import ERROR, ERROR_REFERENCE, Schemas
from tools.contracts.reading import Contracts, Policy

# Kinds of detail that servers attach; a client may meet others and must skip them.
DETAILS = ("ErrorInfo", "BadRequest", "PreconditionFailure", "ResourceInfo", "RetryInfo", "QuotaFailure", "RequestInfo", "Help")

OF_PROTOCOLS = {open_inference.SERVICE: open_inference.ERROR, feast.SERVICE: feast.ERROR}
"""Shape of errors by service, where it is that of a protocol of others."""

_ALWAYS, _WITH_BODY, _CHANGING, _GUARDED = "always", "with a body", "changing", "guarded"


@dataclass(frozen=True)
class ErrorAnswer:
    """One error status.

    Attributes:
        status: HTTP status.
        name: Key in `components/responses`.
        description: gRPC codes that become it, and when.
        given: Which methods answer it.
    """

    status: int
    name: str
    description: str
    given: str = _ALWAYS


# The transcoder maps gRPC codes as google/rpc/code.proto says; 408, 413, 431 and 502 are Envoy's own.
ANSWERS = (
    ErrorAnswer(400, "BadRequest", "INVALID_ARGUMENT, FAILED_PRECONDITION or OUT_OF_RANGE: the request is wrong, or the state forbids it."),
    ErrorAnswer(401, "Unauthenticated", "UNAUTHENTICATED: no valid token or API key."),
    ErrorAnswer(403, "PermissionDenied", "PERMISSION_DENIED: the caller's grants lack the method's permission in the project.", _GUARDED),
    ErrorAnswer(404, "NotFound", "NOT_FOUND: no such resource, or no such path."),
    ErrorAnswer(408, "RequestTimeout", "The request did not arrive in time."),
    ErrorAnswer(409, "Conflict", "ALREADY_EXISTS, or ABORTED: the etag is not the current one.", _CHANGING),
    ErrorAnswer(413, "ContentTooLarge", "The body is larger than the gateway takes.", _WITH_BODY),
    ErrorAnswer(429, "ResourceExhausted", "RESOURCE_EXHAUSTED: a rate limit or a quota; RetryInfo says when to come back."),
    ErrorAnswer(431, "HeadersTooLarge", "The request's path and headers are larger than the gateway takes."),
    ErrorAnswer(499, "Cancelled", "CANCELLED: the caller went away."),
    ErrorAnswer(500, "Internal", "INTERNAL, UNKNOWN or DATA_LOSS: a mistake of ours; RequestInfo carries the id to report."),
    ErrorAnswer(501, "Unimplemented", "UNIMPLEMENTED: this server does not have the method."),
    ErrorAnswer(502, "BadGateway", "UNAVAILABLE: the server gave no valid answer; try again."),
    ErrorAnswer(503, "Unavailable", "UNAVAILABLE: the server is starting, stopping or gone; try again."),
    ErrorAnswer(504, "DeadlineExceeded", "DEADLINE_EXCEEDED: no answer in time."),
)


def error_schema(contracts: Contracts, schemas: Schemas) -> Schema:
    """Returns the schema of every error body: google.rpc.Status as the transcoder prints it."""
    described = []
    for name in DETAILS:
        full_name = f"google.rpc.{name}"
        kind = schemas.message(contracts.message_type(full_name))
        tagged = {"properties": {"@type": {"const": f"type.googleapis.com/{full_name}"}}}
        described.append({"allOf": [kind, tagged]})
    return {
        "type": "object",
        "description": "google.rpc.Status. Every error has exactly one ErrorInfo, whose `reason` is what programs should look at.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "minimum": 0, "maximum": 16, "description": "gRPC status code."},
            "message": {"type": "string", "description": "What is wrong, for people."},
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["@type"],
                    "properties": {"@type": {"type": "string"}},
                    "anyOf": [*described, {"description": "Any other detail."}],
                },
            },
        },
    }


def add_error_schema(contracts: Contracts, schemas: Schemas) -> None:
    """Adds the schema that every error answer refers to."""
    schemas.add(ERROR, error_schema(contracts, schemas))


def responses() -> dict[str, Schema]:
    """Returns `components/responses`."""
    return {
        answer.name: {"description": answer.description, "content": {"application/json": {"schema": ERROR_REFERENCE}}} for answer in ANSWERS
    }


def answers_of(policy: Policy, *, service: str, has_body: bool) -> dict[str, Schema]:
    """Returns the error answers of a method by status: references, or whole where the service's protocol has another shape than ours."""
    is_reading = policy.idempotency == "IDEMPOTENCY_READ_ONLY"
    holds = {
        _ALWAYS: True,
        _WITH_BODY: has_body,
        _CHANGING: not is_reading,
        # A public method that changes something is a login, which may refuse the user.
        _GUARDED: policy.access != "ACCESS_PUBLIC" or not is_reading,
    }
    given = [answer for answer in ANSWERS if holds[answer.given]]
    if service in OF_PROTOCOLS:
        content = {"application/json": {"schema": OF_PROTOCOLS[service]}}
        return {str(answer.status): {"description": answer.description, "content": content} for answer in given}
    return {str(answer.status): {"$ref": f"#/components/responses/{answer.name}"} for answer in given}
