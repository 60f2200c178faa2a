"""All files of a version as one tar archive, made while it is sent."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from model_management.model import FileEntry

_END = bytes(2 * tarfile.BLOCKSIZE)


def tar_stream(files: Iterable[FileEntry], read: Callable[[FileEntry], Iterable[bytes]], modified: datetime) -> Iterator[bytes]:
    """Streams files as a tar archive (POSIX.1-2001) without holding any of them.

    Args:
        files: What to pack, in this order.
        read: Gives the bytes of a file.
        modified: Time that every member carries, so that the same version always makes the same archive.

    Yields:
        The archive.
    """
    for file in files:
        member = tarfile.TarInfo(file.path)
        member.size = file.size_bytes
        member.mtime = int(modified.timestamp())
        member.mode = 0o644
        yield member.tobuf(tarfile.PAX_FORMAT)
        yield from read(file)
        yield bytes(-file.size_bytes % tarfile.BLOCKSIZE)
    yield _END
