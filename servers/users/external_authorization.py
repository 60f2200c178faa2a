"""Envoy's external authorization (`envoy.service.auth.v3`): swaps the API key of a request for an access token.

Envoy asks only for requests that carry a key. Behind this filter comes the one that verifies tokens, so letting a request pass without a
key grants nothing.
"""

from __future__ import annotations

import base64
import logging
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationServicer
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from servers.runtime.statuses import status_of
from servers.users.key_exchange import KeyExchange
from servers.users.key_format import PREFIX

_LOGGER = logging.getLogger(__name__)
_BEARER = "bearer "
_KEY_HEADER = "x-api-key"
_HTTP_CODES: dict[int, int] = {
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNAVAILABLE: 503,
}


class ExternalAuthorization(AuthorizationServicer):  # type: ignore[misc] # xds-protos ships without types
    """Answers Envoy.

    Args:
        keys: Exchanges API keys for access tokens.
    """

    def __init__(self, keys: KeyExchange) -> None:
        self._keys = keys

    def Check(self, request: CheckRequest, context: grpc.ServicerContext) -> CheckResponse:  # noqa: N802, ARG002 (gRPC names them)
        """Lets a request pass with a token in place of its key, or answers it."""
        headers = request.attributes.request.http.headers
        key = presented_key(headers)
        if key is None:
            return _passed([], [_KEY_HEADER])
        try:
            token = self._keys.token_for(key)
        except Exception as error:  # every failure has to become an answer of Envoy's, in the mesh's one shape
            status = status_of(error, headers.get("x-request-id", ""))
            if status.code == code_pb2.INTERNAL:
                _LOGGER.exception("an API key could not be exchanged")
            return _denied(status, is_grpc=headers.get("content-type", "").startswith("application/grpc"))
        return _passed([("authorization", f"Bearer {token}")], [_KEY_HEADER])


def presented_key(headers: Any) -> str | None:
    """The API key among the headers of a request, from `x-api-key` or else `authorization: Bearer mlm_…`; None without one.

    A key in `x-api-key` counts whatever else is sent: a caller who sends one means it, and a wrong one must not pass unseen.
    """
    key = headers.get(_KEY_HEADER, "").strip()
    if key:
        return str(key)
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() != _BEARER:
        return None
    token = authorization[len(_BEARER) :].strip()
    return str(token) if token.startswith(PREFIX) else None


def _passed(headers: list[tuple[str, str]], removed: list[str]) -> CheckResponse:
    return CheckResponse(
        status=status_pb2.Status(code=code_pb2.OK),
        ok_response=OkHttpResponse(headers=[_header(name, value) for name, value in headers], headers_to_remove=removed),
    )


def _denied(status: status_pb2.Status, *, is_grpc: bool) -> CheckResponse:
    http_code = _HTTP_CODES.get(status.code, 500)
    headers = [("content-type", "application/json")]
    body = json_format.MessageToJson(status, preserving_proto_field_name=True, indent=None)
    if http_code == _HTTP_CODES[code_pb2.UNAUTHENTICATED]:
        headers.append(("www-authenticate", 'Bearer realm="mlmesh", error="invalid_token"'))
    if is_grpc:
        # Envoy turns the answer into a gRPC status whose message is the body; the details travel in the header of their own.
        headers = [("grpc-status-details-bin", base64.b64encode(status.SerializeToString()).decode().rstrip("="))]
        body = status.message
    return CheckResponse(
        status=status_pb2.Status(code=status.code, message=status.message),
        denied_response=DeniedHttpResponse(
            status=HttpStatus(code=http_code), headers=[_header(name, value) for name, value in headers], body=body
        ),
    )


def _header(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value), append_action=HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    )
