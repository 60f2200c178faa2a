"""Who a server is when it calls its peers: the mesh's service account."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc

from servers.runtime.errors import Unavailable
from servers.runtime.settings import ServerSettings

_GRANT_TYPE = "urn:mlmesh:params:oauth:grant-type:api-key"
_RENEW_AT_SHARE = 0.7


class IssuedToken(NamedTuple):
    """A token and how long it lives.

    Args:
        access_token: The JWT.
        expires_in_s: Seconds until it expires.
    """

    access_token: str
    expires_in_s: float


class ServiceCredentials:
    """Exchanges the API key of the service account for tokens, and keeps the current one.

    Args:
        users_address: gRPC target of the users server.
        key_file: File with the API key. Read at each exchange, so that a rotated key needs no restart.
        exchange: Exchanges an API key for a token; None = by the users server.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        users_address: str,
        key_file: Path,
        *,
        exchange: Callable[[str], IssuedToken] | None = None,
        settings: ServerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users_address = users_address
        self._key_file = key_file
        self._settings = settings
        self._exchange = exchange or self._exchange_at_users
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = float("-inf")
        self._expires_at = float("-inf")
        self._channel: grpc.Channel | None = None

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> ServiceCredentials:
        """The service account of a server's settings.

        Raises:
            ValueError: `users_address` or `service_key_file` is missing.
        """
        if not settings.users_address or settings.service_key_file is None:
            raise ValueError("calls to other components need users_address and service_key_file")
        return cls(settings.users_address, settings.service_key_file, settings=settings)

    def token(self) -> str:
        """A token that is valid now; exchanges the key where none is.

        Raises:
            servers.runtime.errors.Unavailable: The key file is not there yet, or the users server does not answer.
        """
        with self._lock:
            now = self._clock()
            if now < self._renew_at:
                return self._token
            try:
                issued = self._exchange(self._key())
            except (grpc.RpcError, Unavailable):
                # The old token still works for a while; the next call tries again.
                if now < self._expires_at:
                    return self._token
                raise
            self._token = issued.access_token
            self._renew_at = now + issued.expires_in_s * _RENEW_AT_SHARE
            self._expires_at = now + issued.expires_in_s
            return self._token

    def discard(self, token: str) -> None:
        """Forgets a token that a peer refused, unless a newer one has taken its place."""
        with self._lock:
            if token == self._token:
                self._renew_at = self._expires_at = float("-inf")

    def close(self) -> None:
        """Closes the connection to the users server."""
        if self._channel is not None:
            self._channel.close()

    def _key(self) -> str:
        try:
            return self._key_file.read_text("utf-8").strip()
        except OSError as error:
            raise Unavailable(
                "The key of the mesh's service account cannot be read; the users server writes it on its first start.",
                reason="SERVICE_KEY_MISSING",
                retry_after_s=1,
            ) from error

    def _exchange_at_users(self, api_key: str) -> IssuedToken:
        from mlops.users.v1 import users_service_pb2, users_service_pb2_grpc

        from servers.runtime.peers import open_channel

        if self._channel is None:
            self._channel = open_channel(self._users_address, settings=self._settings, timeout_s=5)
        request = users_service_pb2.ExchangeTokenRequest(grant_type=_GRANT_TYPE, api_key=api_key)
        answer = users_service_pb2_grpc.UserServiceStub(self._channel).ExchangeToken(request)
        return IssuedToken(answer.access_token, float(answer.expires_in))
