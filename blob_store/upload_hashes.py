"""Hashes of uploads under way, so that completing one need not read again what was just written."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["UploadHashes"]


@dataclass(frozen=True, slots=True)
class _Hashed:
    offset: int
    turn: bytes
    running: _Hash


class UploadHashes:
    """Hashes of uploads as far as they have come, so that completing need not read what has just been written.

    Only a saving of time: what is not in it (another process went on with the upload, or too many are under way) is read again.

    Args:
        capacity: How many uploads are remembered.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[str, _Hashed] = OrderedDict()
        self._mutex = threading.Lock()

    def take(self, upload_id: str, offset: int, turn: bytes = b"") -> _Hash | None:
        """Return the hash of the first `offset` bytes as the writer of this turn left it, and forget it."""
        with self._mutex:
            entry = self._entries.pop(upload_id, None)
        if entry is not None and (entry.offset, entry.turn) == (offset, turn):
            return entry.running
        return hashlib.sha256() if offset == 0 else None

    def keep(self, upload_id: str, offset: int, running: _Hash, turn: bytes = b"") -> None:
        """Remember the hash of the first `offset` bytes."""
        with self._mutex:
            self._entries[upload_id] = _Hashed(offset, turn, running)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
