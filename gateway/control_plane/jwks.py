"""Follows the keys that verify tokens, so that Envoy has a new one before the first token made with it arrives."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import grpc

from servers.runtime.keys import keys_of_jwks

_LOGGER = logging.getLogger(__name__)


class JwksError(ValueError):
    """The users server gave something that is no set of RSA keys."""


def normalized(document: bytes) -> str:
    """Returns a JSON Web Key Set in one spelling, so that only a change of keys is a change.

    Args:
        document: What the users server gave.

    Returns:
        JSON with sorted keys, the verifying keys only.

    Raises:
        JwksError: It is not a key set, or has no key that could verify a token.
    """
    try:
        usable = keys_of_jwks(document)
    except Exception as error:  # PyJWT raises a dozen kinds over a malformed key
        raise JwksError(f"not a JSON Web Key Set: {error}") from error
    if not usable:
        raise JwksError("the JSON Web Key Set has no RSA key with a `kid`")
    keys: list[dict[str, Any]] = [key for key in json.loads(document)["keys"] if isinstance(key, dict) and key.get("kid") in usable]
    return json.dumps({"keys": sorted(keys, key=lambda key: str(key["kid"]))}, sort_keys=True, separators=(",", ":"))


class JwksWatch:
    """Asks for the keys every so often, in a thread of its own.

    Args:
        fetch: Asks the users server.
        on_change: Told the normalized key set whenever it differs from the last.
        interval_s: Pause between two questions, in seconds.
        retry_s: Pause after a question that failed, in seconds.
    """

    def __init__(self, fetch: Callable[[], bytes], on_change: Callable[[str], object], *, interval_s: float, retry_s: float = 0.2) -> None:
        self._fetch = fetch
        self._on_change = on_change
        self._interval_s = interval_s
        self._retry_s = retry_s
        self._last = ""
        self._error: Exception | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jwks", daemon=True)

    def start(self) -> None:
        """Starts asking. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stops asking."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def check(self) -> None:
        """Raises where the last question failed: a dependency check."""
        if self._error is not None:
            raise self._error
        if not self._last:
            raise ConnectionError("no keys have arrived from the users server")

    def _run(self) -> None:
        while not self._stopped.is_set():
            is_known = self._ask()
            self._stopped.wait(self._interval_s if is_known else self._retry_s)

    def _ask(self) -> bool:
        try:
            keys = normalized(self._fetch())
        except (grpc.RpcError, JwksError) as error:
            if self._error is None:
                _LOGGER.warning("keys cannot be fetched from the users server: %s", _brief(error))
            self._error = ConnectionError(_brief(error))
            return False
        self._error = None
        if keys != self._last:
            self._on_change(keys)
            self._last = keys
        return True


def _brief(error: Exception) -> str:
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
