"""Folders for temporary files that outlive nobody for long.

Each pool of processes has a folder of its own below the shared one, and holds a lock on a file in it for as long as it lives. The kernel
gives up the lock of whoever dies, and the next pool that starts removes the folders without a lock. A lock and not a process id: an id is
given out again, and in containers every server has the same one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OWNER_LOCK = "owner.lock"
"""File in the folder of a pool that its owner has locked."""
_PREFIX = "pool-"


class Scratch:
    """The folder of one pool. Removes what dead pools left beside it.

    Args:
        shared_folder: Where the folders of all pools are; made where it does not exist, for this user alone.

    Raises:
        OSError: If it cannot be made or written to.
    """

    def __init__(self, shared_folder: Path) -> None:
        shared_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shared_folder = shared_folder.resolve()
        # Between the making of a folder and its lock, another pool would take it for a leftover.
        with _locked(shared_folder / "start.lock"):
            for leftover in shared_folder.glob(f"{_PREFIX}*"):
                _remove_unless_owned(leftover)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=shared_folder))
            self._lock = _open(self.folder / OWNER_LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def new_folder(self) -> Path:
        """Makes a folder for one process."""
        return Path(tempfile.mkdtemp(prefix="process-", dir=self.folder))

    def close(self) -> None:
        """Removes everything; called once nobody writes there any more. May be called again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = _open(file)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_unless_owned(folder: Path) -> None:
    try:
        descriptor = _open(folder / OWNER_LOCK)
    except OSError:  # no folder, somebody else's, or gone in this moment
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its owner lives
    finally:
        os.close(descriptor)
