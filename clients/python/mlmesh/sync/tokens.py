"""Tokens for calls: had in exchange for a credential, kept, and renewed before they expire."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
from mlops.users.v1 import users_service_pb2, users_service_pb2_grpc

from mlmesh.configuration import ApiKey, Credential, Password, SavedSession, Token
from mlmesh.saved_logins import exclusive_use, save_login, saved_login
from mlmesh.statuses import error_of_call
from mlmesh.sync.blocking import Lock, run_blocking

_API_KEY_GRANT = "urn:mlmesh:params:oauth:grant-type:api-key"
_RENEW_AT_SHARE = 0.7
_TIMEOUT_S = 20.0


class Tokens:
    """The tokens of one caller.

    Args:
        channel: Leads to the users service.
        credential: What tokens are had for.
        clock: Monotonic seconds.
    """

    def __init__(self, channel: grpc.Channel, credential: Credential, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = users_service_pb2_grpc.UserServiceStub(channel)
        self._credential = credential
        self._clock = clock
        self._lock = Lock()
        self._token = credential.text if isinstance(credential, Token) else ""
        self._refresh_token = ""
        self._renew_at = self._expires_at = float("inf") if self._token else float("-inf")

    def current(self) -> str:
        """Returns a token that is valid now.

        Raises:
            mlmesh.errors.MeshError: The credential is refused, or the mesh does not answer.
        """
        # Of many calls that need a new token at the same time, one gets it and the others wait.
        with self._lock:
            now = self._clock()
            if now < self._renew_at:
                return self._token
            try:
                issued = self._issue()
            except grpc.RpcError as error:
                if now < self._expires_at:
                    return self._token  # still good for a while; the next call tries again
                raise error_of_call(error) from error
            self._token = issued.access_token
            self._refresh_token = issued.refresh_token
            self._renew_at = now + issued.expires_in * _RENEW_AT_SHARE
            self._expires_at = now + issued.expires_in
            return self._token

    def discard(self, token: str) -> bool:
        """Forgets a token that a server refused, unless a newer one has taken its place.

        Returns:
            Whether another one can be had.
        """
        if isinstance(self._credential, Token):
            return False
        if token == self._token:
            self._renew_at = self._expires_at = float("-inf")
        return True

    def _issue(self) -> users_service_pb2.TokenResponse:
        if self._refresh_token:
            request = users_service_pb2.RefreshTokenRequest(refresh_token=self._refresh_token)
            # Works once, whatever comes of it.
            self._refresh_token = ""
            try:
                return self._users.RefreshToken(request, timeout=_TIMEOUT_S)
            except grpc.RpcError:
                pass  # revoked, expired, or used by a call whose answer was lost: begin anew
        if isinstance(self._credential, SavedSession):
            return self._refresh_saved(self._credential)
        if isinstance(self._credential, Password):
            login = users_service_pb2.LoginRequest(username=self._credential.username, password=self._credential.password)
            return self._users.Login(login, timeout=_TIMEOUT_S)
        key = self._credential.text if isinstance(self._credential, ApiKey) else ""
        exchange = users_service_pb2.ExchangeTokenRequest(grant_type=_API_KEY_GRANT, api_key=key)
        return self._users.ExchangeToken(exchange, timeout=_TIMEOUT_S)

    def _refresh_saved(self, session: SavedSession) -> users_service_pb2.TokenResponse:
        lock = exclusive_use()
        run_blocking(lock.__enter__)
        try:
            request = users_service_pb2.RefreshTokenRequest(refresh_token=saved_login(session.url))
            issued = self._users.RefreshToken(request, timeout=_TIMEOUT_S)
            save_login(session.url, issued.refresh_token)
        finally:
            lock.__exit__(None, None, None)
        # The next one is in the file, also for other programs.
        issued.refresh_token = ""
        return issued
