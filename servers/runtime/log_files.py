"""Log files of child processes: appended to by the child itself, kept small by the supervisor."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 64 * 1024


def open_log(path: Path) -> BinaryIO:
    """Opens a log for a child to append to, readable by its owner only.

    The child writes to the file and not to a pipe of the supervisor: an access log of thousands of lines a second costs the
    supervisor nothing, and a busy supervisor never blocks a server.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def rotate(path: Path, size_bytes: int) -> bool:
    """Moves a log's content to `<name>.1` once it is larger than `size_bytes`.

    The child keeps its file descriptor, so the content is copied and the file truncated (the `copytruncate` of logrotate): lines
    written in the milliseconds between are lost. O_APPEND makes the child go on at the new end.

    Returns:
        Whether it was rotated.
    """
    try:
        if path.stat().st_size <= size_bytes:
            return False
    except FileNotFoundError:
        return False
    older = path.with_name(path.name + ".1")
    shutil.copyfile(path, older)
    older.chmod(0o600)
    os.truncate(path, 0)
    return True


def tail(path: Path, lines: int, since_byte: int = 0) -> str:
    """Returns the last lines of a log, none of them from before `since_byte`; empty where there is no log."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, since_byte if since_byte <= end else 0, end - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def size_of(path: Path) -> int:
    """Returns the size of a log in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0
