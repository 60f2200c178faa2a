"""One mesh a data directory: a lock that the kernel takes back whatever happens to its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE_S = 0.5
_PAUSE_S = 0.02


class AlreadyRunning(Exception):
    """Another mesh runs on the data directory; the message names its process."""


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock of a data directory.

    The lock is on the open file (flock), so it cannot outlive a killed supervisor, and its children do not inherit it. Whoever
    wants to know whether a mesh runs tries for a shared lock (`mlmesh.local_mesh`).

    Args:
        path: The lock file; made if need be, never removed.

    Raises:
        AlreadyRunning: Somebody holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise AlreadyRunning(
                f"a mesh runs on {path.parent} already (process {holder or 'unknown'}); "
                "stop it with `mlmesh down`, or choose another --data-dir"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Returns whether the lock could be taken within a moment: `mlmesh status` holds it for as long as it looks."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True
