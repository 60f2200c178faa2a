"""Processes that outlived their server: what a job started besides, where the server was killed.

The kernel kills the process of a job together with its server, and not what that process started. All of these have the folder for
temporary files of the job's process in their environment, and the folder's pool has no owner any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path

import psutil

from servers.runtime.data_process.scratch import OWNER_LOCK

_LOGGER = logging.getLogger(__name__)


def end_leftovers(shared_folder: Path) -> int:
    """Kills what dead servers left behind; to be called before their folders are removed.

    Args:
        shared_folder: Where the folders of all pools are.

    Returns:
        How many processes there were.
    """
    shared_folder, count = shared_folder.resolve(), 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            folder = Path(process.environ().get("TMPDIR", "/"))
            if shared_folder in folder.parents and not _is_owned(shared_folder / folder.relative_to(shared_folder).parts[0]):
                _LOGGER.warning("process %d was left behind by a job and is ended", process.pid)
                process.kill()
                count += 1
    return count


def _is_owned(pool: Path) -> bool:
    """Whether the server of a pool lives: it holds a lock as long as it does."""
    try:
        descriptor = os.open(pool / OWNER_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
