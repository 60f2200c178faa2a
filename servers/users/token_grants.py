"""The grants of the OAuth2 token endpoint (RFC 6749)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from servers.users.errors import GrantFieldMissing, UnsupportedGrantType
from servers.users.logins import Logins, Tokens

API_KEY_GRANT = "urn:mlmesh:params:oauth:grant-type:api-key"
"""Exchanges an API key for a token; a name of our own, as RFC 6749, section 4.5, has it."""


@dataclass(frozen=True)
class TokenRequest:
    """What was sent to the token endpoint; a field that the grant does not use is ignored.

    Args:
        grant_type: Which grant.
        username: Of the grant `password`.
        password: Of the grant `password`.
        client_id: Of the grant `client_credentials`.
        client_secret: Of the grant `client_credentials`.
        refresh_token: Of the grant `refresh_token`.
        api_key: Of the API-key grant.
        scopes: Permissions to limit the token to; none = no limit.
    """

    grant_type: str
    username: str = ""
    password: str = ""
    client_id: str = ""
    client_secret: str = ""
    refresh_token: str = ""
    api_key: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Grant:
    """A grant: the fields it needs, and what it does with them."""

    fields: tuple[str, ...]
    give: Callable[[Logins, TokenRequest], Tokens]


_GRANTS: Mapping[str, _Grant] = {
    "password": _Grant(
        ("username", "password"), lambda logins, request: logins.with_password(request.username, request.password, request.scopes)
    ),
    "client_credentials": _Grant(
        ("client_id", "client_secret"),
        lambda logins, request: logins.with_client_credentials(request.client_id, request.client_secret, request.scopes),
    ),
    "refresh_token": _Grant(("refresh_token",), lambda logins, request: logins.with_refresh_token(request.refresh_token, request.scopes)),
    API_KEY_GRANT: _Grant(("api_key",), lambda logins, request: logins.with_api_key(request.api_key, request.scopes)),
}


def exchange(logins: Logins, request: TokenRequest) -> Tokens:
    """Gives tokens for a grant.

    Args:
        logins: Who gives them.
        request: What was sent.

    Returns:
        The tokens.

    Raises:
        UnsupportedGrantType: There is no such grant.
        GrantFieldMissing: A field that it needs is empty.
        servers.runtime.errors.Unauthenticated: The grant is refused.
    """
    grant = _GRANTS.get(request.grant_type)
    if grant is None:
        raise UnsupportedGrantType(request.grant_type[:80], _GRANTS)
    for field in grant.fields:
        if not getattr(request, field):
            raise GrantFieldMissing(request.grant_type, field)
    return grant.give(logins, request)
