"""Access tokens: signed statements of who calls and what the caller may do, for a few minutes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import jwt

from servers.users.errors import GrantsTooLarge
from servers.users.grants import Grants
from servers.users.signing_keys import SigningKeys

MAX_TOKEN_BYTES = 6000
"""Longest token made, in bytes. gRPC drops calls at random whose headers exceed 8 KiB together, and there are others beside it."""

TokenKind = Literal["user", "service", "api_key"]
"""Whom a token stands for: a person, a service account, or a person's API key."""


@dataclass(frozen=True)
class TokenSubject:
    """Whom a token stands for.

    Args:
        user_id: Claim `sub`.
        name: Claim `name`.
        kind: Claim `kind`.
        token_group: Claim `sid`: what is revoked to end the token early.
        grants: Claim `grants`.
    """

    user_id: str
    name: str
    kind: TokenKind
    token_group: str
    grants: Grants


@dataclass(frozen=True)
class AccessToken:
    """A token to hand out.

    Args:
        text: The JWT.
        expire_time: When it expires.
        lifetime_s: Seconds until then.
    """

    text: str
    expire_time: datetime
    lifetime_s: int


class TokenIssuer:
    """Makes access tokens.

    Args:
        keys: What signs them.
        issuer: Claim `iss`.
        audience: Claim `aud`.
        lifetime_s: How long they last, in seconds.
        clock: The time now.
    """

    def __init__(self, keys: SigningKeys, issuer: str, audience: str, lifetime_s: int, clock: Callable[[], datetime]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._lifetime_s = lifetime_s
        self._clock = clock

    def issue(self, subject: TokenSubject, *, not_after: datetime | None = None) -> AccessToken:
        """Makes a token.

        Args:
            subject: Whom it stands for.
            not_after: When it has to have expired, for example because its API key has; None = no such limit.

        Returns:
            The token.

        Raises:
            GrantsTooLarge: The grants do not fit into it.
        """
        now = self._clock()
        expire_time = now + timedelta(seconds=self._lifetime_s)
        if not_after is not None:
            expire_time = min(expire_time, not_after)
        signer = self._keys.signer()
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject.user_id,
            "iat": int(now.timestamp()),
            "exp": int(expire_time.timestamp()),
            "jti": str(uuid.uuid4()),
            "sid": subject.token_group,
            "name": subject.name,
            "kind": subject.kind,
            "grants": {project: sorted(permissions) for project, permissions in sorted(subject.grants.items())},
        }
        text = jwt.encode(claims, signer.private_key, algorithm="RS256", headers={"kid": signer.key_id})
        if len(text) > MAX_TOKEN_BYTES:
            raise GrantsTooLarge(len(text), MAX_TOKEN_BYTES)
        return AccessToken(text, expire_time, max(0, int((expire_time - now).total_seconds())))
