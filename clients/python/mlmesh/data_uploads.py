"""What an upload of data is to the caller, and what it sends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mlops.ingestion.v1 import upload_service_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.files import PIECE_BYTES, Source
from mlmesh.outgoing import Outgoing, Pieces

Content = Path | bytes | bytearray | memoryview
"""A file: where it is, or its bytes."""


@dataclass(frozen=True)
class DataUpload:
    """A file on its way into the mesh, as it was when the mesh was asked.

    Args:
        id: Identifier, a UUID.
        name: Its name, which tells its format where the bytes do not.
        size_bytes: Length of the whole file.
        offset_bytes: Bytes that are stored.
        is_complete: Whether all of it is there.
        expire_time: When it is forgotten, unless more comes or an ingestion needs it.
    """

    id: str
    name: str
    size_bytes: int
    offset_bytes: int
    is_complete: bool
    expire_time: datetime

    def message(self) -> upload_service_pb2.DataUpload:
        """Returns what its sending needs to know, as the contract has it."""
        return upload_service_pb2.DataUpload(id=self.id, size_bytes=self.size_bytes, offset_bytes=self.offset_bytes)


def upload_value(message: upload_service_pb2.DataUpload) -> DataUpload:
    """Reads an upload."""
    return DataUpload(
        id=message.id,
        name=message.name,
        size_bytes=message.size_bytes,
        offset_bytes=message.offset_bytes,
        is_complete=message.complete,
        expire_time=message.expire_time.ToDatetime(tzinfo=UTC),
    )


class Sending(Pieces, Protocol):
    """A file on its way."""

    name: str
    size_bytes: int

    def open(self) -> None:
        """Makes it ready to be read."""
        ...

    def check_unchanged(self) -> None:
        """Makes sure that what was sent is one file, and not parts of two."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


def sending_of(content: Content, name: str) -> Sending:
    """Returns a file as it is sent.

    Args:
        content: The file.
        name: What it is called; empty = that of the path.

    Raises:
        mlmesh.errors.InvalidArgument: There is no such file, or it is empty.
    """
    sending = _SentFile(content, name) if isinstance(content, Path) else _SentBytes(content, name)
    if not sending.size_bytes:
        raise InvalidArgument(f"{sending.name or 'the data'} is empty", reason="SOURCE_EMPTY")
    return sending


class _SentFile(Outgoing):
    def __init__(self, path: Path, name: str) -> None:
        if not path.is_file():
            raise InvalidArgument(f"there is no file at {path} on this machine", reason="FILES_MISSING")
        self._path = path
        self._found = _stamp(path)
        self.name = name or path.name
        self.size_bytes = path.stat().st_size
        super().__init__(Source(path, self.name, "", self.size_bytes))

    def check_unchanged(self) -> None:
        if _stamp(self._path) != self._found:
            raise InvalidArgument(
                f"{self._path} was changed while it was sent", reason="FILE_CHANGED", hint="send it again once nobody writes to it"
            )


class _SentBytes:
    def __init__(self, data: bytes | bytearray | memoryview, name: str) -> None:
        self._data = memoryview(data).cast("B")
        self.name = name
        self.size_bytes = self._data.nbytes

    def open(self) -> None:
        """They are ready."""

    def read(self, offset_bytes: int) -> bytes:
        return bytes(self._data[offset_bytes : offset_bytes + PIECE_BYTES])

    def check_whole(self) -> None:
        """As long as they are held they stay as long as they are."""

    def check_unchanged(self) -> None:
        """Whoever holds them knows."""

    def close(self) -> None:
        """They belong to the caller."""


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
