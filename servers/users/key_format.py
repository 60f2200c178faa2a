"""The form of API keys: `mlm_<id>_<secret><checksum>`.

The prefix lets secret scanners find leaked keys, and the checksum (CRC-32, as in GitHub's tokens) lets anyone refuse a mistyped or
invented key without asking the database. Only a SHA-256 of the whole key is stored: the secret has 256 random bits, so a slow hash
would add nothing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from servers.users.errors import ApiKeyMalformed

PREFIX = "mlm_"
"""How every API key begins."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 16
_SECRET_LENGTH = 43  # 43 × log2(62) = 256 bits
_CHECKSUM_LENGTH = 6  # 62⁶ > 2³²
_KEY = re.compile(rf"mlm_([0-9A-Za-z]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})", re.ASCII)
_MAX_LENGTH = len(PREFIX) + _ID_LENGTH + 1 + _SECRET_LENGTH + _CHECKSUM_LENGTH


@dataclass(frozen=True)
class KeyText:
    """An API key taken apart.

    Args:
        id: Its public identifier.
        digest: SHA-256 of the whole key, 32 bytes: what is stored and compared.
    """

    id: str
    digest: bytes


def new_key(random_base62: Callable[[int], str] | None = None) -> str:
    """Makes a key.

    Args:
        random_base62: Gives that many random base62 digits; None = from the operating system.

    Returns:
        The whole key, to be shown once.
    """
    draw = random_base62 or _random_base62
    body = f"{PREFIX}{draw(_ID_LENGTH)}_{draw(_SECRET_LENGTH)}"
    return body + _checksum(body)


def parse_key(text: str) -> KeyText:
    """Reads a key without asking anyone.

    Args:
        text: What the caller sent.

    Returns:
        Identifier and digest.

    Raises:
        ApiKeyMalformed: Form or checksum is wrong.
    """
    match = _KEY.fullmatch(text) if len(text) == _MAX_LENGTH else None
    if match is None or match[2] != _checksum(text[:-_CHECKSUM_LENGTH]):
        raise ApiKeyMalformed
    return KeyText(id=match[1], digest=hashlib.sha256(text.encode("ascii")).digest())


def base62(number: int, width: int) -> str:
    """Writes a number of 0 or more in base62, zero-padded to a width."""
    digits = ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits.rjust(width, _ALPHABET[0])


def _checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _random_base62(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
