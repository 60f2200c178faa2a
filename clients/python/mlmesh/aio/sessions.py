"""Logging in, tokens and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import grpc.aio
from mlops.users.v1 import user_pb2, users_service_pb2, users_service_pb2_grpc

from mlmesh.aio.calls import Caller
from mlmesh.aio.pages import Pager
from mlmesh.fields import timestamp


class SessionCalls:
    """Calls about who the caller is.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = users_service_pb2_grpc.UserServiceStub(channel)
        self._caller = caller

    async def login(self, username: str, password: str, *, timeout_s: float | None = None) -> users_service_pb2.TokenResponse:
        """Logs a person in and returns tokens. A connection logs in by itself: this is for handing tokens on.

        Args:
            username: Login name.
            password: Password.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Unauthenticated: User name or password is wrong, or the user is locked or disabled.
        """
        request = users_service_pb2.LoginRequest(username=username, password=password)
        return await self._caller.unary(self._stub.Login, request, timeout_s=timeout_s)

    async def exchange_token(
        self,
        grant_type: str,
        *,
        username: str = "",
        password: str = "",
        client_id: str = "",
        client_secret: str = "",
        refresh_token: str = "",
        api_key: str = "",
        scope: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> users_service_pb2.TokenResponse:
        """Exchanges a credential for tokens, as OAuth2 (RFC 6749) has it.

        Args:
            grant_type: `password`, `client_credentials`, `refresh_token` or `urn:mlmesh:params:oauth:grant-type:api-key`.
            username: For the grant `password`.
            password: For the grant `password`.
            client_id: For the grant `client_credentials`: identifier of an API key of a service user.
            client_secret: For the grant `client_credentials`: the whole API key.
            refresh_token: For the grant `refresh_token`.
            api_key: For the API-key grant.
            scope: Permissions to limit the token to; empty = all that the caller has.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Unauthenticated: The credential is refused.
            mlmesh.errors.InvalidArgument: There is no such grant.
        """
        request = users_service_pb2.ExchangeTokenRequest(
            grant_type=grant_type,
            username=username,
            password=password,
            client_id=client_id,
            client_secret=client_secret,
            refresh_token=refresh_token,
            api_key=api_key,
            scope=" ".join(scope),
        )
        return await self._caller.unary(self._stub.ExchangeToken, request, timeout_s=timeout_s)

    async def refresh_token(self, refresh_token: str, *, timeout_s: float | None = None) -> users_service_pb2.TokenResponse:
        """Exchanges a refresh token for the next pair. Each works once: a second use revokes the session.

        Args:
            refresh_token: The refresh token of the last answer.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Unauthenticated: It is unknown, expired or used.
        """
        request = users_service_pb2.RefreshTokenRequest(refresh_token=refresh_token)
        return await self._caller.unary(self._stub.RefreshToken, request, timeout_s=timeout_s)

    async def logout(self, *, timeout_s: float | None = None) -> None:
        """Revokes the session of the token in use.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        await self._caller.unary(self._stub.Logout, users_service_pb2.LogoutRequest(), timeout_s=timeout_s)

    async def get_me(self, *, timeout_s: float | None = None) -> users_service_pb2.Me:
        """Returns who the caller is and what the caller may do.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        return await self._caller.unary(self._stub.GetMe, users_service_pb2.GetMeRequest(), timeout_s=timeout_s)

    async def change_password(self, current_password: str, new_password: str, *, timeout_s: float | None = None) -> None:
        """Changes the caller's own password and revokes the caller's other sessions.

        Args:
            current_password: The password so far.
            new_password: The new one, 12 to 1,024 characters.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Unauthenticated: The password so far is another.
        """
        request = users_service_pb2.ChangePasswordRequest(current_password=current_password, new_password=new_password)
        await self._caller.unary(self._stub.ChangePassword, request, timeout_s=timeout_s)

    async def create_api_key(
        self,
        display_name: str,
        *,
        scopes: Sequence[str] = (),
        expire_time: datetime | None = None,
        user_id: str = "",
        timeout_s: float | None = None,
    ) -> users_service_pb2.CreateApiKeyResponse:
        """Creates an API key. `secret` of the answer is the key: it cannot be shown again.

        Args:
            display_name: What it is for, for example `nightly training`.
            scopes: Permissions it is limited to, `registry.*` for all that begin so; empty = all that its user has.
            expire_time: When it stops working, with a time zone; None = never.
            user_id: User to create it for; empty = the caller.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.PermissionDenied: The caller may not create keys (`users.keys.create`), or not for another user.
        """
        key = user_pb2.ApiKey(display_name=display_name, scopes=scopes, expire_time=timestamp(expire_time))
        request = users_service_pb2.CreateApiKeyRequest(api_key=key, user_id=user_id)
        return await self._caller.unary(self._stub.CreateApiKey, request, timeout_s=timeout_s)

    def list_api_keys(
        self, *, user_id: str = "", filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.ApiKey]:
        """Lists API keys.

        Args:
            user_id: Whose; empty = the caller's, `-` = everybody's.
            filter: AIP-160 filter over `display_name`, `user_id`, `create_time`, `expire_time` and `revoke_time`.
            order_by: Of `create_time`, `display_name`, each with ` desc` if wanted.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListApiKeysRequest(user_id=user_id, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListApiKeys, request, "api_keys", timeout_s)

    async def revoke_api_key(self, id: str, *, timeout_s: float | None = None) -> None:
        """Revokes an API key. It and every token made from it stop working within 5 seconds.

        Args:
            id: Identifier of the key: the middle part.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such key of the caller.
        """
        await self._caller.unary(self._stub.RevokeApiKey, users_service_pb2.RevokeApiKeyRequest(id=id), timeout_s=timeout_s)

    async def get_jwks(self, *, timeout_s: float | None = None) -> str:
        """Returns the public keys that verify access tokens, as a JSON Web Key Set.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        answer = await self._caller.unary(self._stub.GetJwks, users_service_pb2.GetJwksRequest(), timeout_s=timeout_s)
        return str(answer.data, "utf-8")

    async def list_revocations(self, *, timeout_s: float | None = None) -> users_service_pb2.ListRevocationsResponse:
        """Returns the sessions that were revoked while tokens of theirs may be unexpired. Servers poll it.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListRevocationsRequest()
        return await self._caller.unary(self._stub.ListRevocations, request, timeout_s=timeout_s)
