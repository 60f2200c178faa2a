"""A file on its way to the mesh."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, Protocol

from mlmesh.errors import InvalidArgument
from mlmesh.files import PIECE_BYTES, Source

if TYPE_CHECKING:
    from blob_store.digest import BesideHasher


class Pieces(Protocol):
    """What is sent in pieces."""

    def read(self, offset_bytes: int) -> bytes:
        """Reads the piece at a position; nothing at the end."""
        ...

    def check_whole(self) -> None:
        """Makes sure that it is as long as it was said to be."""
        ...


class Outgoing:
    """Reads a file from wherever the mesh stands, and hashes it beside the sending where its digest is not known yet.

    Every byte is hashed when it is read for the first time, however often the sending breaks off. So what is told as the digest is of
    what was sent; where the file changed in between, the mesh finds another one and refuses it.

    Args:
        source: The file; its size is what is sent.
        hashes: Whether its digest is wanted.
    """

    def __init__(self, source: Source, *, hashes: bool = False) -> None:
        self.source = source
        self._hashes = hashes
        self._file: BinaryIO | None = None
        self._hasher: BesideHasher | None = None
        self._hashed_bytes = 0
        self._cut_at: int | None = None
        # gRPC reads on a thread of its own, which may still be at it when the next attempt begins.
        self._lock = threading.Lock()

    def open(self) -> None:
        """Opens it."""
        self._file = self.source.path.open("rb", buffering=0)
        if self._hashes:
            # Imported where bytes move: a caller that only predicts starts without the blob store.
            from blob_store.digest import BesideHasher

            self._hasher = BesideHasher()

    def read(self, offset_bytes: int) -> bytes:
        """Reads the piece at a position; nothing at the end, where the file has become shorter, and once it is closed."""
        with self._lock:
            if self._file is None or offset_bytes >= self.source.size_bytes:
                return b""
            self._file.seek(offset_bytes)
            piece = self._file.read(min(PIECE_BYTES, self.source.size_bytes - offset_bytes))
            if not piece:
                self._cut_at = offset_bytes
            end = offset_bytes + len(piece)
            if self._hasher is not None and offset_bytes <= self._hashed_bytes < end:
                self._hasher.update(piece[self._hashed_bytes - offset_bytes :])
                self._hashed_bytes = end
            return piece

    def check_whole(self) -> None:
        """Makes sure that it had as many bytes as it was said to have.

        Raises:
            InvalidArgument: It has become shorter meanwhile.
        """
        if self._cut_at is not None:
            raise InvalidArgument(
                f"{self.source.name} was cut to {self._cut_at:,} of {self.source.size_bytes:,} bytes while it was sent",
                reason="FILE_CHANGED",
                hint="save it again once nobody writes to it",
            )

    def digest(self) -> str:
        """Returns the digest of the whole, reading what was not read yet.

        Raises:
            InvalidArgument: It has become shorter meanwhile.
        """
        if self._hasher is None:
            return self.source.digest
        while self.read(self._hashed_bytes):
            pass
        self.check_whole()
        return self._hasher.digest()

    def close(self) -> None:
        """Closes it."""
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()
            if self._hasher is not None:
                self._hasher.close()
