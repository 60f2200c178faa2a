"""Form-encoded bodies for the OAuth2 token endpoint, as RFC 6749 has them; JSON ones go through the transcoder."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import grpc
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.users.v1 import users_service_pb2 as pb
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.typed import any_of
from servers.runtime.errors import ERROR_DOMAIN

TokenExchange = Callable[[pb.ExchangeTokenRequest, Mapping[str, str]], pb.TokenResponse]
"""Asks the users server; raises `grpc.RpcError`. The mapping is the metadata of the call. May block."""

_PATH = "/api/v1/auth/token"
_MAX_FORM_BYTES = 64 * 1024
_MAX_FIELDS = 32
_PASSED_HEADERS = ("traceparent", "tracestate", "x-request-id", "x-forwarded-for")
_FIELDS = frozenset(field.name for field in pb.ExchangeTokenRequest.DESCRIPTOR.fields)

_HTTP_STATUS: Mapping[int, int] = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DEADLINE_EXCEEDED: 504,
}

_RETRYABLE = (429, 503)

_OAUTH_ERRORS: Mapping[int, str] = {
    code_pb2.UNAUTHENTICATED: "invalid_grant",
    code_pb2.PERMISSION_DENIED: "unauthorized_client",
    code_pb2.UNAVAILABLE: "temporarily_unavailable",
    code_pb2.RESOURCE_EXHAUSTED: "temporarily_unavailable",
}


class FormError(ValueError):
    """A form is malformed, or says one thing twice."""


def token_route(exchange: TokenExchange) -> Route:
    """Returns the route of the token endpoint.

    Args:
        exchange: Asks the users server.
    """

    async def token(request: Request) -> Response:
        try:
            asked = exchange_request(await _body(request), request.headers.get("authorization", ""))
        except FormError as error:
            return _error_response(_status(code_pb2.INVALID_ARGUMENT, "MALFORMED_REQUEST", str(error)))
        passed = {name: request.headers[name] for name in _PASSED_HEADERS if name in request.headers}
        try:
            answer = await run_in_threadpool(exchange, asked, passed)
        except grpc.RpcError as error:
            return _error_response(_status_of(error))
        return JSONResponse(_dict(answer), headers={"cache-control": "no-store", "pragma": "no-cache"})

    return Route(_PATH, token, methods=["POST"])


def exchange_request(form: bytes, authorization: str = "") -> pb.ExchangeTokenRequest:
    """Reads a token request.

    Args:
        form: Body, `application/x-www-form-urlencoded`.
        authorization: Header by which a client may name itself instead, `Basic ...` (RFC 6749, 2.3.1).

    Returns:
        The request for the users server. Parameters that it does not know are ignored, as RFC 6749 wants it.

    Raises:
        FormError: The form is malformed, a parameter is there twice, or client and header contradict each other.
    """
    try:
        pairs = parse_qsl(
            form.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(form), max_num_fields=_MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise FormError("The body is not a form: expected name=value pairs joined by &, percent-encoded UTF-8.") from error
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise FormError(f"The parameter {name[:64]!r} is there twice.")
        values[name] = value
    for name, value in _basic_credentials(authorization).items():
        if values.setdefault(name, value) != value:
            raise FormError(f"The parameter {name!r} contradicts the Authorization header.")
    return pb.ExchangeTokenRequest(**{name: value for name, value in values.items() if name in _FIELDS})


def _basic_credentials(authorization: str) -> dict[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client, separator, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise FormError("The Authorization header is not `Basic` with base64.") from error
    if not separator:
        raise FormError("The Authorization header has no colon between client and secret.")
    return {"client_id": unquote_plus(client), "client_secret": unquote_plus(secret)}


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > _MAX_FORM_BYTES:
            raise FormError(f"The form is larger than {_MAX_FORM_BYTES} bytes.")
    return bytes(received)


def _status_of(error: grpc.RpcError) -> status_pb2.Status:
    if not isinstance(error, grpc.Call):
        raise error
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
    code: int = error.code().value[0]
    return _status(code, "USERS_UNAVAILABLE" if code == code_pb2.UNAVAILABLE else "TOKEN_REFUSED", error.details() or "")


def _status(code: int, reason: str, message: str) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return status_pb2.Status(code=code, message=message, details=[any_of(info)])


def _error_response(status: status_pb2.Status) -> JSONResponse:
    http_status = _HTTP_STATUS.get(status.code, 500)
    headers = {"cache-control": "no-store"}
    if http_status in _RETRYABLE:
        headers["retry-after"] = "1"
    body = {**_dict(status), "error": _oauth_error(status), "error_description": status.message}
    return JSONResponse(body, status_code=http_status, headers=headers)


def _oauth_error(status: status_pb2.Status) -> str:
    """RFC 6749, 5.2: OAuth2 clients look at this and nothing else. The users server says it where it knows."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.metadata.get("oauth_error"):
            return info.metadata["oauth_error"]
    return _OAUTH_ERRORS.get(status.code, "invalid_request")


def _dict(message: Any) -> dict[str, Any]:
    result: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return result
