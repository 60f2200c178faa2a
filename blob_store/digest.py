"""Digests: parsing them strictly, and hashing beside the writing instead of after it."""

from __future__ import annotations

import hashlib
import queue
import re
import threading
from typing import TYPE_CHECKING

from blob_store.errors import InvalidDigest

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["CHUNK_BYTES", "EMPTY_DIGEST", "BesideHasher", "digest_of", "hex_of", "sha256_of"]

CHUNK_BYTES = 1 << 20
"""How much is read, hashed and handed on at once."""

_ALONE_FROM_BYTES = 4 << 20
"""Below this a thread costs more (about 0.1 ms) than it saves."""
_DEPTH = 8
"""How many batches may wait for the hashing thread: bounds the memory of a transfer."""
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


def hex_of(digest: str) -> str:
    """Return the 64 hexadecimal digits of a digest.

    This is the only door from a caller's text to a file name or an object key: what passes has no slash, dot or capital in it.

    Args:
        digest: ``sha256:`` and 64 lower-case hexadecimal digits.

    Raises:
        InvalidDigest: If it is anything else.
    """
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise InvalidDigest(digest)
    return match.group(1)


def digest_of(hex_digits: str) -> str:
    """Return the digest that has these 64 hexadecimal digits."""
    return f"sha256:{hex_digits}"


def sha256_of(content: bytes) -> str:
    """Return the digest of some bytes."""
    return digest_of(hashlib.sha256(content).hexdigest())


EMPTY_DIGEST = sha256_of(b"")


class BesideHasher:
    """SHA-256 on a thread of its own, so that the time of hashing and the time of writing overlap.

    Copying a gibibyte with hashing in line ran at 0.87 GB/s, beside at 1.39 GB/s (hashing alone: 1.33; 2 cores, page cache; ADR 0024).
    Small content is hashed in line. Use it in a ``with`` block, or call `close`: the thread ends there.

    Args:
        start: A hash to go on with, for an upload that is resumed; a new one by default.
    """

    def __init__(self, start: _Hash | None = None) -> None:
        self._hash = hashlib.sha256() if start is None else start
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._inline_bytes = 0
        self._queue: queue.Queue[list[bytes] | None] | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> BesideHasher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, chunk: bytes) -> None:
        """Add bytes. They must not change afterwards, which is why `bytes` and no buffer is taken."""
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        if self._batch_bytes >= CHUNK_BYTES:
            self._hand_over()

    def finish(self) -> _Hash:
        """Wait for all bytes and return the hash, which can be continued by another `BesideHasher`."""
        self._hand_over()
        self.close()
        return self._hash

    def digest(self) -> str:
        """Wait for all bytes and return their digest."""
        return digest_of(self.finish().hexdigest())

    def close(self) -> None:
        """End the thread. Nothing happens the second time."""
        thread, self._thread = self._thread, None
        if thread is not None and self._queue is not None:
            self._queue.put(None)
            thread.join()

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        handed, self._batch_bytes = self._batch_bytes, 0
        if self._thread is None and self._inline_bytes + handed <= _ALONE_FROM_BYTES:
            self._inline_bytes += handed
            for chunk in batch:
                self._hash.update(chunk)
            return
        if self._thread is None:
            self._queue = queue.Queue(maxsize=_DEPTH)
            self._thread = threading.Thread(target=_hash_batches, args=(self._hash, self._queue), name="blob-hash", daemon=True)
            self._thread.start()
        if self._queue is not None:
            self._queue.put(batch)


def _hash_batches(running: _Hash, batches: queue.Queue[list[bytes] | None]) -> None:
    while (batch := batches.get()) is not None:
        for chunk in batch:
            running.update(chunk)
