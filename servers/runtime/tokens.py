"""Verifies access tokens: RS256 JWTs made by the users server.

The algorithm is pinned and the size capped before anything is decoded: libraries have had holes in both places. Signatures are checked
once per token; after that a cache keyed by the token's hash answers, and only expiry and revocation are looked at again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from servers.runtime.errors import Unauthenticated, Unavailable
from servers.runtime.principals import Principal, PrincipalKind

MAX_TOKEN_BYTES = 8192
"""Longest token that is looked at, in bytes. gRPC refuses more than that in one header anyway."""

_ALGORITHM = "RS256"
_KINDS: Mapping[str, PrincipalKind] = {"user": "user", "service": "service", "api_key": "api_key"}


class KeySource(Protocol):
    """Where the public keys of the users server come from."""

    def public_key(self, key_id: str) -> Any | None:
        """The RSA public key of a key id, or None where no such key signs.

        Raises:
            servers.runtime.errors.Unavailable: No keys could be had yet.
        """


class Revocations(Protocol):
    """Which sessions ended before their tokens expire."""

    def is_revoked(self, session_id: str) -> bool:
        """Whether a session or API key was revoked."""


@dataclass(frozen=True)
class _Verified:
    principal: Principal
    key_id: str
    expires_at: float


class TokenVerifier:
    """Turns a token into the principal it stands for.

    Args:
        keys: Public keys by key id.
        issuer: Required claim `iss`.
        audience: Required claim `aud`.
        revocations: Sessions that ended early; None where nothing is ever revoked.
        leeway_s: Accepted difference of clocks, in seconds.
        clock: Seconds since the epoch.
        cache_size: Verified tokens to remember.
    """

    def __init__(
        self,
        keys: KeySource,
        issuer: str,
        audience: str,
        revocations: Revocations | None = None,
        *,
        leeway_s: float = 5.0,
        clock: Callable[[], float] = time.time,
        cache_size: int = 4096,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._revocations = revocations
        self._leeway_s = leeway_s
        self._clock = clock
        self._cache_size = cache_size
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()
        self._lock = threading.Lock()
        self._jwt = jwt.PyJWT({"verify_exp": False, "verify_nbf": False, "verify_iat": False, "enforce_minimum_key_length": True})

    def verify(self, token: str) -> Principal:
        """Verifies a token.

        Args:
            token: The JWT, without `Bearer`.

        Returns:
            Whom it stands for.

        Raises:
            servers.runtime.errors.Unauthenticated: Reason TOKEN_MALFORMED, TOKEN_SIGNATURE, TOKEN_ISSUER, TOKEN_AUDIENCE,
                TOKEN_EXPIRED, TOKEN_NOT_YET_VALID or TOKEN_REVOKED.
            servers.runtime.errors.Unavailable: The keys could not be fetched yet.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise _refused("TOKEN_MALFORMED", f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        with self._lock:
            known = self._cache.get(digest)
            if known is not None:
                self._cache.move_to_end(digest)
        # A key that was withdrawn ends its tokens, the remembered ones too.
        if known is None or self._keys.public_key(known.key_id) is None:
            known = self._decode(token)
            with self._lock:
                self._cache[digest] = known
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        if self._clock() >= known.expires_at + self._leeway_s:
            raise _refused("TOKEN_EXPIRED", "The token has expired; log in or refresh it.")
        session = known.principal.session_id
        if self._revocations is not None and session and self._revocations.is_revoked(session):
            raise _refused("TOKEN_REVOKED", "The session or API key of the token was revoked; log in again.")
        return known.principal

    def _decode(self, token: str) -> _Verified:
        key_id = self._key_id(token)
        key = self._keys.public_key(key_id)
        if key is None:
            raise _refused("TOKEN_SIGNATURE", "The token is signed with a key that this mesh does not have.")
        try:
            claims = self._jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["iss", "aud", "sub", "iat", "exp"]},
            )
        except jwt.InvalidSignatureError:
            raise _refused("TOKEN_SIGNATURE", "The token's signature is wrong.") from None
        except jwt.InvalidAudienceError:
            raise _refused("TOKEN_AUDIENCE", f"The token is not meant for {self._audience!r}.") from None
        except jwt.InvalidIssuerError:
            raise _refused("TOKEN_ISSUER", f"The token is not issued by {self._issuer!r}.") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(_missing_reason(error.claim), f"The token has no claim {error.claim!r}.") from None
        except jwt.PyJWTError:
            raise _refused("TOKEN_MALFORMED", "The token cannot be decoded.") from None
        return self._verified(claims, key_id)

    def _key_id(self, token: str) -> str:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _refused("TOKEN_MALFORMED", "The token is not a JWT.") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm != _ALGORITHM:
            raise _refused("TOKEN_SIGNATURE", f"The token is not signed with {_ALGORITHM}.")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= 128 or "crit" in header:
            raise _refused("TOKEN_MALFORMED", "The token's header is not one that this mesh makes.")
        return key_id

    def _verified(self, claims: Mapping[str, Any], key_id: str) -> _Verified:
        issued_at, expires_at, not_before = claims["iat"], claims["exp"], claims.get("nbf", claims["iat"])
        if not all(isinstance(moment, (int, float)) and not isinstance(moment, bool) for moment in (issued_at, expires_at, not_before)):
            raise _refused("TOKEN_MALFORMED", "A time in the token is not a number.")
        if max(issued_at, not_before) > self._clock() + self._leeway_s:
            raise _refused("TOKEN_NOT_YET_VALID", "The token is not valid yet; check the clocks of the mesh.")
        return _Verified(principal=principal_of(claims), key_id=key_id, expires_at=float(expires_at))


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """Reads the principal out of verified claims.

    Args:
        claims: `sub`, `name`, `kind`, `sid` and `grants` (project to list of permissions).

    Returns:
        The principal.

    Raises:
        servers.runtime.errors.Unauthenticated: A claim has another type than the mesh gives it.
    """
    grants, kind = claims.get("grants", {}), claims.get("kind", "user")
    texts = [claims["sub"], claims.get("name", ""), claims.get("sid", "")]
    well_formed = (
        all(isinstance(text, str) for text in texts)
        and kind in _KINDS
        and isinstance(grants, dict)
        and all(isinstance(granted, list) and all(isinstance(name, str) for name in granted) for granted in grants.values())
    )
    if not well_formed:
        raise _refused("TOKEN_MALFORMED", "The token's claims are not those that this mesh makes.")
    return Principal(
        subject=texts[0],
        display_name=texts[1] or texts[0],
        kind=_KINDS[kind],
        grants={project: frozenset(granted) for project, granted in grants.items()},
        session_id=texts[2],
    )


def keys_unavailable() -> Unavailable:
    """The error for a token that cannot be judged because no keys have arrived yet."""
    return Unavailable(
        "The keys that verify tokens have not arrived from the users server; try again.", reason="KEYS_UNAVAILABLE", retry_after_s=1
    )


def _missing_reason(claim: str) -> str:
    return {"aud": "TOKEN_AUDIENCE", "iss": "TOKEN_ISSUER", "exp": "TOKEN_EXPIRED"}.get(claim, "TOKEN_MALFORMED")


def _refused(reason: str, message: str) -> Unauthenticated:
    return Unauthenticated(message, reason=reason)
