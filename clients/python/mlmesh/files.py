"""Files and folders on their way to and from the mesh."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from mlmesh.errors import DataLoss, InvalidArgument

if TYPE_CHECKING:
    from blob_store.digest import BesideHasher

PIECE_BYTES = 1024 * 1024
"""Size of the pieces in which bytes travel: large enough to be fast, small enough for constant memory."""


@dataclass(frozen=True)
class Source:
    """A file to send.

    Args:
        path: Where it is on this machine.
        name: Its relative path in the version, with `/`.
        digest: `sha256:` and 64 hexadecimal digits; empty = it was not read yet.
        size_bytes: Its length.
    """

    path: Path
    name: str
    digest: str
    size_bytes: int


def describe(path: Path, name: str) -> Source:
    """Reads a file once, for its digest and length."""
    size = 0
    with path.open("rb") as file, _hasher() as hasher:
        while piece := file.read(PIECE_BYTES):
            hasher.update(piece)
            size += len(piece)
        return Source(path, name, hasher.digest(), size)


def sources_of(path: Path) -> list[Source]:
    """Finds a file, or every file below a folder, sorted by name; none is read yet.

    Raises:
        InvalidArgument: There is none.
    """
    if path.is_file():
        return [Source(path, path.name, "", path.stat().st_size)]
    found = sorted(one for one in path.rglob("*") if one.is_file())
    if not found:
        raise InvalidArgument(f"there is no file at {path}", reason="FILES_MISSING")
    return [Source(one, one.relative_to(path).as_posix(), "", one.stat().st_size) for one in found]


def place_below(folder: Path, name: str) -> Path:
    """Returns the path of a file of a version below a folder.

    Raises:
        DataLoss: The name leads out of the folder, which no registry that is well stores.
    """
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\0" in name:
        raise DataLoss(f"the version has a file {name!r}, which would be written outside of {folder}", reason="PATH_UNSAFE")
    return folder.joinpath(*parts)


def read_piece(file: BinaryIO) -> bytes:
    """Reads the next piece."""
    return file.read(PIECE_BYTES)


def read_end(path: Path, size_bytes: int) -> bytes:
    """Reads the last bytes of a file."""
    with path.open("rb", buffering=0) as file:
        file.seek(-size_bytes, os.SEEK_END)
        return file.read(size_bytes)


def open_at(path: Path, offset_bytes: int) -> BinaryIO:
    """Opens a file to read from a position."""
    file = path.open("rb")
    file.seek(offset_bytes)
    return file


@dataclass
class Download:
    """A file that is being received: resumable, and only in its place once it is whole and right.

    Args:
        target: Where it is to be.
        digest: What it has to be.
    """

    target: Path
    digest: str
    size_bytes: int = 0
    _file: BinaryIO | None = None
    _hasher: BesideHasher | None = None

    @property
    def partial(self) -> Path:
        """What has arrived so far. Named after the content, so that a part of something else is never gone on with."""
        return self.target.with_name(f".{self.target.name}.{self.digest[7:23]}.part")

    def open(self) -> None:
        """Opens it, and takes up what an earlier attempt left."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        self._hasher = _hasher()
        while piece := self._file.read(PIECE_BYTES):
            self._count(self._hasher, piece)

    def append(self, piece: bytes) -> None:
        """Adds what has arrived."""
        file, hasher = self._opened()
        self._count(hasher, piece)
        file.write(piece)

    def finish(self) -> None:
        """Puts the file into its place.

        Raises:
            DataLoss: It is not what it has to be; the partial file is gone.
        """
        _, hasher = self._opened()
        digest = hasher.digest()
        self.close()
        if digest != self.digest:
            self.partial.unlink()
            raise DataLoss(f"{self.target.name} was damaged on its way: its digest is not {self.digest}", reason="DIGEST_MISMATCH")
        self.partial.replace(self.target)

    def close(self) -> None:
        """Closes it; what has arrived stays, to be gone on with."""
        if self._hasher is not None:
            self._hasher.close()
            self._hasher = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> tuple[BinaryIO, BesideHasher]:
        if self._file is None or self._hasher is None:
            raise ValueError("the download is not open")
        return self._file, self._hasher

    def _count(self, hasher: BesideHasher, piece: bytes) -> None:
        hasher.update(piece)
        self.size_bytes += len(piece)


def _hasher() -> BesideHasher:
    """Hashes beside the reading and writing. Imported where bytes move: a caller that only predicts starts without the blob store."""
    from blob_store.digest import BesideHasher

    return BesideHasher()


def is_whole(path: Path, digest: str) -> bool:
    """Returns whether a file is there and has a digest."""
    return path.is_file() and describe(path, path.name).digest == digest


Report = Callable[[str, int, int], None]
"""Told how far a transfer is: name, bytes done, bytes in all."""
