"""API keys that come with calls through the gateway, exchanged for access tokens that a burst of calls shares."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from servers.users.access_tokens import TokenIssuer
from servers.users.api_keys import ApiKeys

_CACHE_SIZE = 10_000
_SHORTEST_REST_S = 10.0


@dataclass(frozen=True)
class _Exchanged:
    """A token and how long it is used again."""

    token: str
    token_group: str
    good_until: float


class KeyExchange:
    """Exchanges keys, and remembers the tokens for a while.

    What is remembered is found by the hash of the whole key, so a hit needs no database; it is forgotten at once when the key is revoked
    here, and as soon as the revocation is seen where that was done by another server.

    Args:
        api_keys: Accepts keys.
        issuer: Makes tokens.
        is_revoked: Whether a token group was ended.
        cache_s: How long a token is used again, in seconds.
        monotonic: Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        api_keys: ApiKeys,
        issuer: TokenIssuer,
        is_revoked: Callable[[str], bool],
        cache_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api_keys = api_keys
        self._issuer = issuer
        self._is_revoked = is_revoked
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._cache: OrderedDict[bytes, _Exchanged] = OrderedDict()
        # Counts the revocations: a key that was read before one must not be remembered after it.
        self._revocations = 0
        api_keys.tell_of_revocations(self.forget)

    def token_for(self, key: str) -> str:
        """An access token for an API key.

        Args:
            key: The whole key.

        Returns:
            A JWT that lives for at least some seconds.

        Raises:
            servers.users.errors.ApiKeyMalformed: It is not a key.
            servers.users.errors.ApiKeyInvalid: It does not work.
        """
        digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        with self._lock:
            known = self._cache.get(digest)
            seen = self._revocations
        if known is not None and self._monotonic() < known.good_until and not self._is_revoked(known.token_group):
            return known.token
        accepted = self._api_keys.authenticate(key)
        token = self._issuer.issue(accepted.subject, not_after=accepted.key.expire_time)
        good_for_s = min(self._cache_s, token.lifetime_s - _SHORTEST_REST_S)
        if good_for_s > 0:
            self._remember(digest, _Exchanged(token.text, accepted.key.token_group, self._monotonic() + good_for_s), seen)
        return token.text

    def forget(self, token_group: str) -> None:
        """Forgets the tokens of a group."""
        with self._lock:
            self._revocations += 1
            for digest in [digest for digest, known in self._cache.items() if known.token_group == token_group]:
                del self._cache[digest]

    def _remember(self, digest: bytes, exchanged: _Exchanged, seen: int) -> None:
        with self._lock:
            if seen != self._revocations:
                return
            self._cache[digest] = exchanged
            self._cache.move_to_end(digest)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
