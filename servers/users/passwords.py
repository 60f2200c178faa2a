"""Password hashing (argon2id, RFC 9106) with bounded memory, and the policy for new passwords."""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from servers.users.errors import TooManyLogins, WeakPassword

MIN_LENGTH = 12
MAX_LENGTH = 1024
_MIN_DISTINCT = 5
_SHORTEST_NAME_REFUSED = 4


@dataclass(frozen=True)
class PasswordCost:
    """Parameters of argon2id. The defaults are those that OWASP recommends (ADR 0015).

    Args:
        memory_kib: Memory of one hash, in KiB.
        iterations: Passes over it.
        lanes: Threads of one hash.
    """

    memory_kib: int = 19 * 1024
    iterations: int = 2
    lanes: int = 1


class PasswordHasher:
    """Hashes and verifies passwords, a few at a time.

    Each hash takes tens of MiB and a core for a tenth of a second, so a flood of logins must neither fill the memory nor hold all worker
    threads: few hash at once, some wait, the rest is refused.

    Args:
        cost: What a hash costs.
        parallelism: Hashes computed at the same time.
        waiting: Callers that may wait for their turn.
        wait_s: How long they wait, in seconds.
    """

    def __init__(self, cost: PasswordCost, *, parallelism: int = 2, waiting: int = 16, wait_s: float = 20.0) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=cost.iterations, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        self._running = threading.BoundedSemaphore(parallelism)
        self._admitted = threading.BoundedSemaphore(parallelism + waiting)
        self._wait_s = wait_s
        self._decoy = _decoy_hash(cost)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for the right to hash. What is read inside is current when the hash is computed.

        Raises:
            TooManyLogins: Too many wait, or it took too long.
        """
        if not self._admitted.acquire(blocking=False):
            raise TooManyLogins
        try:
            if not self._running.acquire(timeout=self._wait_s):
                raise TooManyLogins
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._admitted.release()

    def hash(self, password: str) -> str:
        """Hashes a password, to be called within `turn`."""
        return self._hasher.hash(password)

    def verify(self, stored: str | None, password: str) -> bool:
        """Compares a password with a stored hash, to be called within `turn`.

        Args:
            stored: The hash; None, for users without one, takes as long and is always wrong.
            password: What the caller sent.

        Returns:
            Whether it is the password.
        """
        try:
            return self._hasher.verify(stored or self._decoy, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


def check_new_password(password: str, username: str, field: str) -> None:
    """Refuses passwords that fall to the first guesses.

    Args:
        password: The new password.
        username: Its user's login name.
        field: Request field to name in the error.

    Raises:
        WeakPassword: It is too short or long, contains the name, or repeats a few characters.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise WeakPassword(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(password)}.", field)
    if len(set(password)) < _MIN_DISTINCT:
        raise WeakPassword(f"A password has at least {_MIN_DISTINCT} different characters.", field)
    if len(username) >= _SHORTEST_NAME_REFUSED and username.lower() in password.lower():
        raise WeakPassword("A password does not contain the user name.", field)


def generated_password() -> str:
    """A random password of 24 characters with 144 bits."""
    return secrets.token_urlsafe(18)


def _decoy_hash(cost: PasswordCost) -> str:
    """A well-formed hash of nothing in particular: verifying against it costs what a real one costs, and making it costs nothing."""
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.iterations},p={cost.lanes}${salt}${digest}"
