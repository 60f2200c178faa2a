"""Calls to the other servers of the mesh: who we are, how long we wait, what may be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf import descriptor_pool
from mlops.common.v1.options_pb2 import (
    IDEMPOTENCY_IDEMPOTENT,
    IDEMPOTENCY_READ_ONLY,
    IDEMPOTENCY_REQUEST_ID,
    policy,
)

from servers.runtime.settings import ServerSettings
from servers.runtime.tracing import outgoing_metadata

DEFAULT_TIMEOUT_S = 30.0
"""Deadline of a unary call that states none, in seconds."""


class Identity(Protocol):
    """Gives the token that our calls carry."""

    def token(self) -> str:
        """A token that is valid now."""

    def discard(self, token: str) -> None:
        """Forgets a token that a peer refused."""


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


def open_channel(
    address: str,
    *,
    identity: Identity | None = None,
    settings: ServerSettings | None = None,
    services: Sequence[str] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> grpc.Channel:
    """Opens a channel to a peer. It connects on the first call, and again after the peer was away.

    Args:
        address: gRPC target, `host:port` or `unix:/path`.
        identity: Who we are; None for public methods only.
        settings: TLS files and message limits; None = plain text and the defaults of gRPC.
        services: Full names of the services to be called, whose safe methods are repeated while the peer is UNAVAILABLE.
        timeout_s: Deadline of unary calls that state none, in seconds.

    Returns:
        A channel; close it on shutdown.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(services))),
        ("grpc.enable_retries", 1),
        # A peer that restarts is back within 3 s; the default of gRPC would let its callers wait up to 2 minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if settings is not None:
        options += [
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
        ]
    credentials = _credentials(settings)
    if credentials is None:
        channel = grpc.insecure_channel(address, options=options)
    else:
        channel = grpc.secure_channel(address, credentials, options=options)
    return grpc.intercept_channel(channel, _PeerInterceptor(identity, timeout_s))


def service_config(services: Sequence[str]) -> dict[str, Any]:
    """Derives gRPC's retry policy from the contracts: only methods that say a repeat is safe are repeated.

    Args:
        services: Full names of services whose descriptors are loaded.

    Returns:
        A gRPC service config.
    """
    safe = {IDEMPOTENCY_READ_ONLY, IDEMPOTENCY_IDEMPOTENT, IDEMPOTENCY_REQUEST_ID}
    names = [
        {"service": service, "method": method.name}
        for service in services
        for method in descriptor_pool.Default().FindServiceByName(service).methods
        if method.GetOptions().Extensions[policy].idempotency in safe
    ]
    if not names:
        return {}
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {"methodConfig": [{"name": names, "retryPolicy": retry}]}


def _credentials(settings: ServerSettings | None) -> grpc.ChannelCredentials | None:
    if settings is None or settings.peer_ca_file is None:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=settings.peer_ca_file.read_bytes(),
        private_key=settings.peer_key_file.read_bytes() if settings.peer_key_file else None,
        certificate_chain=settings.peer_certificate_file.read_bytes() if settings.peer_certificate_file else None,
    )


class _PeerInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token and the deadline to every call."""

    def __init__(self, identity: Identity | None, timeout_s: float) -> None:
        self._identity = identity
        self._timeout_s = timeout_s

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Repeats once with a fresh token where the peer refuses the one at hand: it may have been revoked or its key rotated."""
        details, token = self._prepared(client_call_details, self._timeout_s)
        answer = continuation(details, request)
        if self._identity is not None and token and answer.code() is grpc.StatusCode.UNAUTHENTICATED:
            self._identity.discard(token)
            return continuation(self._prepared(client_call_details, self._timeout_s)[0], request)
        return answer

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, None)[0], request)

    def intercept_stream_unary(self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, None)[0], request_iterator)

    def intercept_stream_stream(self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, None)[0], request_iterator)

    def _prepared(self, details: Any, default_timeout_s: float | None) -> tuple[_Details, str]:
        metadata = [*(details.metadata or ()), *outgoing_metadata()]
        token = ""
        if self._identity is not None and not any(key == "authorization" for key, _ in metadata):
            token = self._identity.token()
            metadata.append(("authorization", f"Bearer {token}"))
        timeout = details.timeout if details.timeout is not None else default_timeout_s
        prepared = _Details(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready, getattr(details, "compression", None)
        )
        return prepared, token
