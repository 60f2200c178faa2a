"""A writer that dies of SIGKILL at one of the calls of the system that change files; run by `tests.clean_fork`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blob_store import LocalBlobStore, sha256_of

CONTENT = b"0123456789" * 1000
_CALLS = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "fdatasync",
    "close",
    "utime",
    "unlink",
    "mkdir",
    "replace",
    "rename",
    "fchmod",
    "rmdir",
    "ftruncate",
)


def write_and_die(root: Path, way: str, at: int) -> list[str]:
    """Stores `CONTENT`, and returns the names of all calls if there are fewer than the one to die at.

    Args:
        root: Folder of the store.
        way: `put`, `put_file`, `upload` or `upload without a digest`.
        at: The call to die at, counted from 1; in the middle of it where it writes.
    """
    store = LocalBlobStore(root)
    source = root.parent / f"source-{way}-{at}"
    source.write_bytes(CONTENT)
    calls: list[str] = []
    for name in _CALLS:
        setattr(os, name, _counted(name, getattr(os, name), calls, at))
    if way == "put":
        store.put([CONTENT[:5000], CONTENT[5000:]])
    elif way == "put_file":
        store.put_file(source, take_ownership=True)
    else:
        digest = sha256_of(CONTENT)
        upload_id = store.begin_upload(digest if way == "upload" else None, len(CONTENT))
        store.append(upload_id, 0, [CONTENT[:5000]])
        store.append(upload_id, 5000, [CONTENT[5000:]])
        store.complete(upload_id, digest)
    return list(calls)


def _counted(name: str, real: Callable[..., Any], calls: list[str], at: int) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) == at:
            if name == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    return call
