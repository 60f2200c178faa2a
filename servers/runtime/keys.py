"""Public keys and revocations: kept by the users server, copied by all others."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import grpc
import jwt

from servers.runtime.tokens import keys_unavailable

_LOGGER = logging.getLogger(__name__)
_SHORTEST_REFRESH_PAUSE_S = 0.5
_LONGEST_RETRY_PAUSE_S = 0.25


def keys_of_jwks(document: bytes | str) -> dict[str, Any]:
    """Reads a JSON Web Key Set (RFC 7517).

    Args:
        document: JSON text.

    Returns:
        RSA public keys by key id. Keys of other kinds or uses are left out.

    Raises:
        ValueError: The document is not a key set.
    """
    parsed = json.loads(document)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("keys"), list):
        raise ValueError("not a JSON Web Key Set: an object with a list `keys` is expected")
    return {
        key["kid"]: jwt.PyJWK(key, algorithm="RS256").key
        for key in parsed["keys"]
        if isinstance(key, dict) and key.get("kty") == "RSA" and key.get("use", "sig") == "sig" and isinstance(key.get("kid"), str)
    }


def fetch_pause_s(interval_s: float, *, is_reachable: bool) -> float:
    """Returns the pause before the next fetch, in seconds: a users server that was away is noticed soon after it is back.

    Args:
        interval_s: Pause between two fetches that succeed, in seconds.
        is_reachable: Whether the last one did.
    """
    return interval_s if is_reachable else min(interval_s, _LONGEST_RETRY_PAUSE_S)


class LocalKeys:
    """Keys and revocations straight from the store: for the users server itself.

    Args:
        load_keys: Gives the RSA public keys by key id. Asked at most once a `refresh_interval_s`, and for an unknown key id.
        load_revoked: Gives the revoked sessions whose tokens may be unexpired.
        refresh_interval_s: How long an answer is trusted, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        load_keys: Callable[[], Mapping[str, Any]],
        load_revoked: Callable[[], Collection[str]] = frozenset,
        *,
        refresh_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load_keys = load_keys
        self._load_revoked = load_revoked
        self._refresh_interval_s = refresh_interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._revoked: frozenset[str] = frozenset()
        self._loaded_at = float("-inf")

    def public_key(self, key_id: str) -> Any | None:
        """The key of a key id, or None."""
        self._reload_if_older_than(self._refresh_interval_s)
        if key_id not in self._keys:
            # A rotation a moment ago must not refuse the tokens it makes; the pause keeps made-up key ids from hammering the store.
            self._reload_if_older_than(min(0.05, self._refresh_interval_s))
        return self._keys.get(key_id)

    def is_revoked(self, session_id: str) -> bool:
        """Whether a session was revoked."""
        self._reload_if_older_than(self._refresh_interval_s)
        return session_id in self._revoked

    def _reload_if_older_than(self, age_s: float) -> None:
        with self._lock:
            if self._clock() - self._loaded_at < age_s:
                return
            self._keys, self._revoked = dict(self._load_keys()), frozenset(self._load_revoked())
            self._loaded_at = self._clock()


class RemoteKeys:
    """Keys and revocations fetched from the users server by a background thread.

    While the users server is away the last answer stays in force: a token lives at most 15 minutes anyway, and a mesh that stops with its
    users server would be worse (ADR 0009).

    Args:
        fetch_jwks: Gives the JSON Web Key Set.
        fetch_revoked: Gives the revoked sessions.
        interval_s: Pause between two fetches, in seconds.
    """

    def __init__(
        self,
        fetch_jwks: Callable[[], bytes],
        fetch_revoked: Callable[[], Collection[str]],
        *,
        interval_s: float = 2.0,
    ) -> None:
        self._fetch_jwks = fetch_jwks
        self._fetch_revoked = fetch_revoked
        self._interval_s = interval_s
        self._keys: dict[str, Any] = {}
        self._document = b""
        self._revoked: frozenset[str] = frozenset()
        self._arrived = threading.Condition()
        self._fetches = 0
        self._fetched_at = float("-inf")
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._reachable = True

    def start(self) -> None:
        """Starts fetching. Returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stops fetching."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def public_key(self, key_id: str) -> Any | None:
        """The key of a key id, or None. An unknown one waits for the next fetch, which it brings forward.

        Raises:
            servers.runtime.errors.Unavailable: Nothing has been fetched yet.
        """
        key = self._keys.get(key_id)
        if key is not None:
            return key
        self._wait_for_fetch(timeout_s=1.5)
        if not self._keys:
            raise keys_unavailable()
        return self._keys.get(key_id)

    def is_revoked(self, session_id: str) -> bool:
        """Whether a session was revoked, as of the last fetch."""
        return session_id in self._revoked

    def check_arrived(self) -> None:
        """Raises until the first keys have arrived: a dependency check."""
        if not self._keys:
            raise ConnectionError("no keys have arrived from the users server")

    def check_reachable(self) -> None:
        """Raises while the users server does not answer: a dependency check."""
        if not self._reachable:
            raise ConnectionError("the users server does not answer; the last known keys and revocations are in force")

    def _wait_for_fetch(self, timeout_s: float) -> None:
        with self._arrived:
            # Made-up key ids must not hold worker threads: what a fetch did not know a moment ago, the next one need not be asked.
            if time.monotonic() - self._fetched_at < _SHORTEST_REFRESH_PAUSE_S:
                return
            seen = self._fetches
            self._wanted.set()
            self._arrived.wait_for(lambda: self._fetches > seen, timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._fetch()
            if self._wanted.wait(fetch_pause_s(self._interval_s, is_reachable=self._reachable)):
                self._wanted.clear()
                self._stopped.wait(0.05)

    def _fetch(self) -> None:
        try:
            document = self._fetch_jwks()
            if document != self._document:
                self._keys, self._document = keys_of_jwks(document), document
            self._revoked = frozenset(self._fetch_revoked())
        except (grpc.RpcError, ValueError, KeyError, jwt.PyJWTError) as error:
            if self._reachable:
                _LOGGER.warning("keys and revocations cannot be fetched from the users server: %s", _brief(error))
            self._reachable = False
        else:
            if not self._reachable:
                _LOGGER.info("keys and revocations arrive again")
            self._reachable = True
        with self._arrived:
            self._fetches += 1
            self._fetched_at = time.monotonic()
            self._arrived.notify_all()


def _brief(error: Exception) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else f"{type(error).__name__}: {error}"
