"""Files that survive a power cut, and errors of a full disk by their name."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blob_store.errors import StorageFull

__all__ = ["SyncBeside", "full_disk_is_typed", "locked", "sync_data", "sync_folder", "write_all"]

_SYNC_BESIDE_FROM_BYTES = 4 << 20
"""Below this a thread costs more than it saves."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def full_disk_is_typed() -> Iterator[None]:
    """Turn the system's ways of saying "no space left" into `StorageFull`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull from error
        raise


def write_all(descriptor: int, chunk: bytes) -> None:
    """Write all of the chunk, also where the system takes it in several bites."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_data(descriptor: int) -> None:
    """Wait until content and size of a file are on the disk."""
    # macOS has no fdatasync.
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, without which a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold an advisory lock, shared or exclusive, against other threads and processes; the system frees it when they die."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


class SyncBeside:
    """Has a whole file written to the disk while it is hashed. Use it in a ``with`` block: its thread ends there.

    A file of 100 MB was copied, hashed and durable after 246 ms instead of 379 ms (medians of 7, 2 cores at a load of 5). Small ones are
    left to whoever syncs them last.

    Args:
        descriptor: The file; open for longer than the block.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SyncBeside:
        if os.fstat(self._descriptor).st_size >= _SYNC_BESIDE_FROM_BYTES:
            self._thread = threading.Thread(target=self._sync, name="blob-sync", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._join()

    def finish(self) -> None:
        """Wait for it. The system reports an error of the disk only once, so here is where it is raised."""
        self._join()
        if self._error is not None:
            raise self._error

    def _join(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _sync(self) -> None:
        try:
            sync_data(self._descriptor)
        except OSError as error:
            self._error = error
