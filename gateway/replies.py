"""Envoy's own answers in the shape that the servers answer in.

A request that reached the transcoder is a gRPC request from there on, REST calls included. So a refusal by a filter behind it is
written once, as a gRPC status with details; gRPC clients get it as it is, and for REST the transcoder makes JSON of it, exactly as
it does with the errors of servers. Refusals before the transcoder, and by the transcoder itself, are written as JSON here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import duration_pb2, json_format, struct_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.typed import any_of
from servers.runtime.errors import ERROR_DOMAIN

RETRY_AFTER_S = 1
"""When to try again after a 429 or a 503, in seconds: rate limits refill every second, and components are restarted within some."""

# A REST call looks like gRPC behind the transcoder, but for the path that it came with.
_IS_GRPC = (
    "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    " && !('x-envoy-original-path' in request.headers)"
)
# Clients of the Open Inference Protocol read `error`, and nothing else.
_IS_OPEN_INFERENCE = "request.path.startsWith('/v2')"
_BODY = "%LOCAL_REPLY_BODY%"


@dataclass(frozen=True)
class Reply:
    """How one refusal is told.

    Args:
        condition: CEL expression over the request and Envoy's response.
        code: gRPC code.
        reason: Reason in `ErrorInfo`.
        message: For people. `%LOCAL_REPLY_BODY%` stands for Envoy's own words.
        http_status: Status of the HTTP answer where Envoy's own is to be replaced.
        has_retry: Whether a later repeat may succeed.
        wire: Who gets it: `grpc` clients and transcoded calls, others as `json`, or `both`.
    """

    condition: str
    code: int
    reason: str
    message: str
    http_status: int | None = None
    has_retry: bool = False
    wire: Literal["grpc", "json", "both"] = "both"


def _code_details(prefix: str) -> str:
    return f"response.code_details.startsWith('{prefix}')"


def _jwt(status: str) -> str:
    return _code_details("jwt_authn_access_denied{" + status)


# `grpc_json_transcode_failure{...}`, or `early_...` where the path or the query is at fault.
_TRANSCODER = "response.code_details.contains('grpc_json_transcode_failure')"


REPLIES = (
    Reply(
        f"response.code == 404 && {_TRANSCODER}",
        code_pb2.NOT_FOUND,
        "ROUTE_NOT_FOUND",
        "There is no such path, or it does not take this HTTP method. GET /openapi.json lists them all.",
        wire="json",
    ),
    Reply(
        "response.code == 413",
        code_pb2.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
        "The request body is too large for this path. Bulk data goes through the streaming paths.",
    ),
    Reply(_TRANSCODER, code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", _BODY, wire="json"),
    Reply(
        f"response.code == 401 && {_jwt('Jwt_is_missing')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_MISSING",
        "This method needs a token: send it as `Authorization: Bearer <token>`, or an API key as `X-API-Key`. "
        "POST /api/v1/auth/login gives a token.",
    ),
    Reply(
        f"response.code == 401 && {_jwt('Jwt_is_expired')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_EXPIRED",
        "The token has expired. POST /api/v1/auth/refresh gives a new one.",
    ),
    Reply(
        # Envoy says 403. But it is the credentials that are wrong, not the rights of a caller who is known.
        f"response.code == 403 && {_jwt('Audiences')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_AUDIENCE",
        "The token is meant for another audience than this mesh.",
        http_status=401,
    ),
    Reply(
        f"response.code == 401 && {_jwt('Jwt_issuer')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_ISSUER",
        "The token was issued by somebody else than this mesh.",
    ),
    Reply(
        f"response.code == 401 && {_jwt('Jwt_not_yet')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_NOT_YET_VALID",
        "The token is not valid yet.",
    ),
    Reply(
        f"response.code == 401 && ({_jwt('Jwt_verification')} || {_jwt('Jwks_doesn')} || response.code_details.contains('[alg]'))",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_SIGNATURE",
        "The token is not signed with a key of this mesh.",
    ),
    Reply(
        f"response.code == 401 && {_code_details('jwt_authn')}",
        code_pb2.UNAUTHENTICATED,
        "TOKEN_MALFORMED",
        "The token cannot be read: a JWT of this mesh is expected.",
    ),
    Reply(
        f"response.code == 401 && {_code_details('ext_authz')}",
        code_pb2.UNAUTHENTICATED,
        "API_KEY_INVALID",
        "The API key is unknown, expired or revoked.",
    ),
    Reply("response.code == 401", code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", "The credentials are not valid."),
    Reply("response.code == 403", code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED", "The gateway does not allow this request."),
    Reply("response.code == 404", code_pb2.UNIMPLEMENTED, "METHOD_NOT_FOUND", "There is no such gRPC method.", wire="grpc"),
    Reply(
        "response.code == 404",
        code_pb2.NOT_FOUND,
        "ROUTE_NOT_FOUND",
        "There is no such path. GET /openapi.json lists them all.",
        wire="json",
    ),
    Reply("response.code == 408", code_pb2.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT", "The request did not arrive in time."),
    Reply("response.code == 431", code_pb2.RESOURCE_EXHAUSTED, "HEADERS_TOO_LARGE", "The request headers are too large."),
    Reply(
        "response.code == 429",
        code_pb2.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many requests of this kind from this caller. Try again after the time in Retry-After.",
        has_retry=True,
    ),
    Reply(
        "response.code == 501",
        code_pb2.UNIMPLEMENTED,
        "COMPONENT_NOT_DEPLOYED",
        "The component that serves this method is not part of this mesh.",
    ),
    Reply(
        "response.code == 503 && response.code_details.contains('overflow')",
        code_pb2.UNAVAILABLE,
        "COMPONENT_OVERLOADED",
        "The component has as many calls as it can take. Try again after the time in Retry-After.",
        has_retry=True,
    ),
    Reply(
        "response.code == 503",
        code_pb2.UNAVAILABLE,
        "COMPONENT_UNAVAILABLE",
        "The component that serves this method cannot be reached right now. Try again after the time in Retry-After.",
        has_retry=True,
    ),
    Reply("response.code == 504", code_pb2.DEADLINE_EXCEEDED, "COMPONENT_TIMEOUT", "The component did not answer in time."),
    Reply("response.code == 502", code_pb2.UNAVAILABLE, "COMPONENT_UNAVAILABLE", "The component gave no valid answer.", has_retry=True),
    Reply("response.code >= 400 && response.code < 500", code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", "The request is malformed."),
    Reply(
        "response.code >= 500",
        code_pb2.INTERNAL,
        "GATEWAY_ERROR",
        "The gateway failed. The response header x-request-id names the request.",
    ),
)
"""Every answer of Envoy's own. The first whose condition holds is used."""


def local_reply_config() -> hcm_pb2.LocalReplyConfig:
    """Returns the configuration that gives Envoy's own answers our shape."""
    return hcm_pb2.LocalReplyConfig(mappers=[mapper for reply in REPLIES for mapper in _mappers(reply)])


def status_of(reply: Reply) -> status_pb2.Status:
    """Returns a reply as the status that a server would have sent."""
    details = [any_of(error_details_pb2.ErrorInfo(reason=reply.reason, domain=ERROR_DOMAIN))]
    if reply.has_retry:
        details.append(any_of(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_AFTER_S))))
    return status_pb2.Status(code=reply.code, message=reply.message, details=details)


def _mappers(reply: Reply) -> Iterator[hcm_pb2.ResponseMapper]:
    if reply.wire != "json":
        yield _grpc_mapper(reply)
    if reply.wire != "grpc":
        yield _json_mapper(reply, f"({reply.condition}) && {_IS_OPEN_INFERENCE}", {"error": reply.message})
        yield _json_mapper(reply, reply.condition, {})


def _grpc_mapper(reply: Reply) -> hcm_pb2.ResponseMapper:
    encoded = base64.b64encode(status_of(reply).SerializeToString(deterministic=True)).decode()
    return hcm_pb2.ResponseMapper(
        filter=_condition(f"({reply.condition}) && {_IS_GRPC}"),
        # It becomes `grpc-message`.
        body=base_pb2.DataSource(inline_string=reply.message),
        headers_to_add=[_header("grpc-status", str(reply.code)), _header("grpc-status-details-bin", encoded), *_retry_headers(reply)],
    )


def _json_mapper(reply: Reply, condition: str, besides: Mapping[str, str]) -> hcm_pb2.ResponseMapper:
    body = struct_pb2.Struct()
    # As the transcoder prints the errors of servers.
    printed = json_format.MessageToDict(status_of(reply), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    json_format.ParseDict({**besides, **printed}, body)
    mapper = hcm_pb2.ResponseMapper(
        filter=_condition(condition),
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(json_format=body),
        headers_to_add=_retry_headers(reply),
    )
    if reply.http_status is not None:
        mapper.status_code.value = reply.http_status
    return mapper


def _condition(expression: str) -> accesslog_pb2.AccessLogFilter:
    extension = accesslog_pb2.ExtensionFilter(
        name="envoy.access_loggers.extension_filters.cel",
        typed_config=any_of(cel_pb2.ExpressionFilter(expression=expression)),
    )
    return accesslog_pb2.AccessLogFilter(extension_filter=extension)


def _retry_headers(reply: Reply) -> list[base_pb2.HeaderValueOption]:
    return [_header("retry-after", str(RETRY_AFTER_S))] if reply.has_retry else []


def _header(name: str, value: str) -> base_pb2.HeaderValueOption:
    return base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=name, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
