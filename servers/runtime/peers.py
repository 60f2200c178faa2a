"""Calls to the other servers of the mesh: who we are, how long we wait, what may be repeated."""

from __future__ import annotations

import json
import time
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

from servers.runtime.admission import REFUSED
from servers.runtime.settings import ServerSettings
from servers.runtime.tracing import outgoing_metadata, span

DEFAULT_TIMEOUT_S = 30.0
"""Deadline of a unary call that states none, in seconds."""

DEFAULT_PATIENCE_S = 5.0
"""A server that was stopped or killed is back within 3 s; longer waits would fill the caller's own worker threads."""

RECONNECT_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
"""A peer that restarts is back within 3 s, and what is waited after that comes on top; gRPC's own back-off grows to 2 minutes."""

_READ_AHEAD_BYTES = 8 * 1024 * 1024


class Identity(Protocol):
    """Gives the token that our calls carry."""

    def token(self) -> str:
        """A token that is valid now."""

    def discard(self, token: str) -> None:
        """Forgets a token that a peer refused."""


_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
# What grpc-core says where it found nobody to send a call to.
_NOT_CONNECTED = "failed to connect to all addresses"


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
    patience_s: float = DEFAULT_PATIENCE_S,
) -> grpc.Channel:
    """Opens a channel to a peer. It connects on the first call, and again after the peer was away.

    Args:
        address: gRPC target, `host:port` or `unix:/path`.
        identity: Who we are; None for public methods only.
        settings: TLS files and message limits; None = plain text and the defaults of gRPC.
        services: Full names of the services to be called, whose safe methods are repeated while the peer is UNAVAILABLE.
        timeout_s: Deadline of unary calls that state none, in seconds.
        patience_s: How long a unary call waits for a peer that is not there or refuses it while it stops, in seconds.

    Returns:
        A channel; close it on shutdown.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(service_config(services))),
        ("grpc.enable_retries", 1),
        *RECONNECT_OPTIONS,
        # gRPC would widen the window of a stream to what it believes the line to hold; beside a fast peer a download of gigabytes piles up.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _READ_AHEAD_BYTES),
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
    return grpc.intercept_channel(channel, _PeerInterceptor(identity, timeout_s, patience_s))


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


def _was_never_begun(answer: Any) -> bool:
    """Whether a call may be repeated whatever its method: it was not sent, or refused by a server that stops."""
    if answer.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    return (answer.details() or "").startswith(_NOT_CONNECTED) or any(key == REFUSED for key, _ in answer.trailing_metadata() or ())


class _PeerInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token and the deadline to every call."""

    def __init__(self, identity: Identity | None, timeout_s: float, patience_s: float) -> None:
        self._identity = identity
        self._timeout_s = timeout_s
        self._patience_s = patience_s

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Repeats what the peer has not begun, and once with a fresh token where it refuses the one at hand."""
        timeout_s = client_call_details.timeout if client_call_details.timeout is not None else self._timeout_s
        started = time.monotonic()
        pause_s, is_token_fresh = _FIRST_PAUSE_S, False
        with span(f"call {client_call_details.method.lstrip('/')}", "client") as calling:
            while True:
                elapsed_s = time.monotonic() - started
                details, token = self._prepared(client_call_details, max(0.001, timeout_s - elapsed_s))
                answer = continuation(details, request)
                code = answer.code()
                if code is grpc.StatusCode.UNAUTHENTICATED and self._identity is not None and token and not is_token_fresh:
                    # It may have been revoked, or its key rotated.
                    self._identity.discard(token)
                    is_token_fresh = True
                elif elapsed_s < min(self._patience_s, timeout_s) and _was_never_begun(answer):
                    time.sleep(pause_s)
                    pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                else:
                    calling.set("rpc.grpc.status_code", code.value[0])
                    return answer

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, client_call_details.timeout)[0], request)

    def intercept_stream_unary(self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, client_call_details.timeout)[0], request_iterator)

    def intercept_stream_stream(self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any) -> Any:
        """Streams have no deadline of their own."""
        return continuation(self._prepared(client_call_details, client_call_details.timeout)[0], request_iterator)

    def _prepared(self, details: Any, timeout_s: float | None) -> tuple[_Details, str]:
        metadata = [*(details.metadata or ()), *outgoing_metadata()]
        token = ""
        if self._identity is not None and not any(key == "authorization" for key, _ in metadata):
            token = self._identity.token()
            metadata.append(("authorization", f"Bearer {token}"))
        prepared = _Details(
            details.method, timeout_s, metadata, details.credentials, details.wait_for_ready, getattr(details, "compression", None)
        )
        return prepared, token
