"""The RSA keys that sign access tokens: made, sealed, rotated, published.

A new key is published before it signs, so that everyone who verifies has it by then, and an old one stays published until the last token
it signed has expired. So a rotation fails no call (ADR 0013).
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from servers.users.store.signing_key_rows import (
    SigningKeyRow,
    delete_expired_keys,
    forget_private_keys,
    insert_signing_key,
    limit_older_keys,
    signing_key_rows,
)
from sql_engine import begin_write

_LOGGER = logging.getLogger(__name__)
_RSA_BITS = 2048
_NONCE_BYTES = 12
SEALING_KEY_BYTES = 32
"""Size of the key that seals private keys: AES-256."""


@dataclass(frozen=True)
class RotationPolicy:
    """When keys change.

    Args:
        period_s: How long a key signs, in seconds.
        publish_ahead_s: How long a new key is published before it signs, in seconds: more than anyone caches the key set.
        token_lifetime_s: Lifetime of the tokens, in seconds, with room for clocks that differ.
        reload_interval_s: How old a server's picture of the keys may be, in seconds.
    """

    period_s: float = 30 * 86400.0
    publish_ahead_s: float = 900.0
    token_lifetime_s: float = 960.0
    reload_interval_s: float = 2.0


@dataclass(frozen=True)
class Signer:
    """The key that signs now.

    Args:
        key_id: Header `kid`.
        private_key: Private half.
    """

    key_id: str
    private_key: RSAPrivateKey


@dataclass(frozen=True)
class _Picture:
    """All keys as of one moment."""

    signer: Signer
    published: Mapping[str, RSAPublicKey]
    jwks: bytes


class SigningKeys:
    """Keeps the keys of one database.

    Args:
        engine: Where they are kept.
        sealing_key: 32 bytes that encrypt the private halves at rest.
        policy: When they change.
        clock: The time now.
        monotonic: Seconds, for how old the picture is.
    """

    def __init__(
        self,
        engine: Engine,
        sealing_key: bytes,
        policy: RotationPolicy,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._cipher = AESGCM(sealing_key)
        self._policy = policy
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._picture: _Picture | None = None
        self._painted_at = float("-inf")
        self._opened: dict[str, RSAPrivateKey] = {}

    def signer(self) -> Signer:
        """The key that signs now."""
        return self._current().signer

    def public_keys(self) -> Mapping[str, RSAPublicKey]:
        """Keys whose tokens are accepted, by key id."""
        return self._current().published

    def jwks(self) -> bytes:
        """The same as a JSON Web Key Set (RFC 7517)."""
        return self._current().jwks

    def maintain(self) -> None:
        """Makes the next key when it is time, and deletes what has expired. Called now and then."""
        now = self._clock()
        with self._engine.connect() as connection:
            rows = signing_key_rows(connection)
        newest = rows[-1] if rows else None
        due = newest is None or newest.activate_time + timedelta(seconds=self._policy.period_s) <= now + timedelta(
            seconds=self._policy.publish_ahead_s
        )
        if due:
            self._add_key(rows, now, is_urgent=newest is None)
        with begin_write(self._engine) as connection:
            active = [row for row in rows if row.activate_time <= now]
            if active:
                forget_private_keys(connection, active[-1].generation)
            delete_expired_keys(connection, now)
        self._forget_picture()

    def rotate(self, *, withdraw: bool = False) -> None:
        """Makes a new key now, whatever the schedule says.

        Args:
            withdraw: Whether the older keys are withdrawn at once, because somebody may have them. Every token so far ends, and so do,
                until they fetch the new key, the new tokens at those who cache the key set.
        """
        now = self._clock()
        with self._engine.connect() as connection:
            rows = signing_key_rows(connection)
        self._add_key(rows, now, is_urgent=withdraw)
        if withdraw:
            with begin_write(self._engine) as connection:
                limit_older_keys(connection, signing_key_rows(connection)[-1].generation, now)
                delete_expired_keys(connection, now)
        self._forget_picture()

    def _current(self) -> _Picture:
        with self._lock:
            if self._picture is None or self._monotonic() - self._painted_at >= self._policy.reload_interval_s:
                self._picture = self._painted()
                self._painted_at = self._monotonic()
            return self._picture

    def _forget_picture(self) -> None:
        with self._lock:
            self._picture = None

    def _painted(self) -> _Picture:
        now = self._clock()
        rows = self._live_rows(now)
        signer = self._signer_of(rows, now)
        if signer is None:
            # The first start, or another sealing key than before: tokens signed so far stay valid, new ones need a new key.
            self._add_key(rows, now, is_urgent=True)
            # Another server may have been faster, with a key of a later moment.
            now = self._clock()
            rows = self._live_rows(now)
            signer = self._signer_of(rows, now)
            if signer is None:
                raise RuntimeError("no key signs tokens: the clock of this server is behind that of the one that made the newest key")
        documents = [{**row.public_jwk, "kid": row.key_id, "use": "sig", "alg": "RS256"} for row in rows]
        published = {row.key_id: _public_key(row.public_jwk) for row in rows}
        return _Picture(signer, published, json.dumps({"keys": documents}, separators=(",", ":")).encode())

    def _live_rows(self, now: datetime) -> list[SigningKeyRow]:
        with self._engine.connect() as connection:
            return [row for row in signing_key_rows(connection) if row.expire_time is None or row.expire_time > now]

    def _signer_of(self, rows: list[SigningKeyRow], now: datetime) -> Signer | None:
        for row in reversed(rows):
            private_key = (self._opened.get(row.key_id) or self._open(row)) if row.activate_time <= now else None
            if private_key is not None:
                self._opened = {row.key_id: private_key}
                return Signer(row.key_id, private_key)
        return None

    def _add_key(self, rows: list[SigningKeyRow], now: datetime, *, is_urgent: bool) -> None:
        private_key = generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        public_jwk = RSAAlgorithm.to_jwk(private_key.public_key(), as_dict=True)
        key_id = _thumbprint(public_jwk)
        activate_time = now if is_urgent else now + timedelta(seconds=self._policy.publish_ahead_s)
        generation = rows[-1].generation + 1 if rows else 1
        row = SigningKeyRow(
            generation,
            key_id,
            _public_part(public_jwk),
            self._sealed(private_key, key_id),
            create_time=now,
            activate_time=activate_time,
            expire_time=None,
        )
        margin = timedelta(seconds=self._policy.token_lifetime_s + self._policy.reload_interval_s)
        try:
            with begin_write(self._engine) as connection:
                insert_signing_key(connection, row)
                limit_older_keys(connection, generation, activate_time + margin)
        except IntegrityError:
            _LOGGER.info("another server made signing key generation %d", generation)
        else:
            _LOGGER.info("made signing key %s, generation %d, which signs from %s", key_id, generation, activate_time.isoformat())

    def _sealed(self, private_key: RSAPrivateKey, key_id: str) -> bytes:
        der = private_key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, der, key_id.encode())

    def _open(self, row: SigningKeyRow) -> RSAPrivateKey | None:
        if row.sealed_private_key is None:
            return None
        nonce, sealed = row.sealed_private_key[:_NONCE_BYTES], row.sealed_private_key[_NONCE_BYTES:]
        try:
            der = self._cipher.decrypt(nonce, sealed, row.key_id.encode())
        except InvalidTag:
            _LOGGER.warning("signing key %s was sealed with another sealing key; a new signing key takes its place", row.key_id)
            return None
        loaded = serialization.load_der_private_key(der, password=None)
        return loaded if isinstance(loaded, RSAPrivateKey) else None


def _public_part(jwk: Mapping[str, Any]) -> dict[str, Any]:
    return {name: jwk[name] for name in ("kty", "n", "e")}


def _public_key(jwk: Mapping[str, Any]) -> RSAPublicKey:
    key = RSAAlgorithm.from_jwk(dict(jwk))
    if not isinstance(key, RSAPublicKey):
        raise TypeError("a public key was expected")
    return key


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """The key's RFC 7638 thumbprint: the same key has the same id everywhere."""
    canonical = json.dumps(_public_part(jwk), sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()[:32]
