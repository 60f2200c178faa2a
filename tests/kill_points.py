"""Kills a process, or fills its disk, at every point at which its work touches the disk, the database or the network, one point a run.

Every call of the system that changes files, every statement and commit, and every HTTP request is a point before and a point after; a write
is a point in its middle as well. The process dies by `os._exit`, as by kill -9: nothing is flushed, closed or rolled back. Or, at a
point before a call that may need room on the disk, the call fails as the system lets it fail on a full one.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect
from urllib3.poolmanager import PoolManager

from tests.clean_fork import run_in_fork

_FILE_CALLS = ("fsync", "fdatasync", "ftruncate", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink", "utime", "fchmod")
_NEED_ROOM = frozenset(
    f"before os.{name}" for name in ("fdatasync", "fsync", "link", "mkdir", "open to create", "rename", "replace", "write")
)
_KILLED = 137


class KillPoints:
    """Counts the points that are reached, and dies at one of them.

    Args:
        stop_at: The point to stop at, counted from 1; None for none.
        is_full: Whether the disk is full there, instead of the process dying.
    """

    def __init__(self, stop_at: int | None, *, is_full: bool = False) -> None:
        self._stop_at = stop_at
        self._is_full = is_full
        self._lock = threading.Lock()
        self.names: list[str] = []

    def reach(self, name: str) -> None:
        """Note a point, and die or fail if it is the one."""
        with self._lock:
            self.names.append(name)
            if len(self.names) != self._stop_at:
                return
            if not self._is_full:
                os._exit(_KILLED)
            if name in _NEED_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def install(self) -> None:
        """Put points around everything that leaves a trace. There is no way back: the process is a child that ends."""
        for name in _FILE_CALLS:
            self._wrap(os, name, f"os.{name}")
        self._split_writes()
        event.listen(Engine, "before_cursor_execute", lambda _c, _u, statement, *_: self.reach(f"before {statement[:40]}"))
        event.listen(Engine, "after_cursor_execute", lambda _c, _u, statement, *_: self.reach(f"after {statement[:40]}"))
        self._wrap(DefaultDialect, "do_commit", "commit")
        self._wrap(PoolManager, "urlopen", "request")

    def _wrap(self, owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            creates = name == "open" and arguments[1] & os.O_CREAT
            called = f"{label} to create" if creates else label
            self.reach(f"before {called}")
            result = original(*arguments, **options)
            self.reach(f"after {called}")
            return result

        setattr(owner, name, wrapped)

    def _split_writes(self) -> None:
        original = os.write

        def write(descriptor: int, content: bytes) -> int:
            self.reach("before os.write")
            half = original(descriptor, content[: len(content) // 2])
            self.reach("in the middle of os.write")
            written = half + original(descriptor, content[half:])
            self.reach("after os.write")
            return written

        os.write = write  # type: ignore[assignment]


@dataclass(frozen=True)
class _Attempt:
    work: Callable[[], object]
    stop_at: int | None = None
    is_full: bool = False
    refusals: tuple[type[Exception], ...] = ()

    def __call__(self) -> tuple[bool, list[str]]:
        """Do the work; return whether it was refused, and the names of the points it reached."""
        points = KillPoints(self.stop_at, is_full=self.is_full)
        points.install()
        try:
            self.work()
        except self.refusals:
            return True, points.names
        return False, points.names


def points_of(work: Callable[[], object]) -> list[str]:
    """Run work in a child that lives, and return the names of the points it reached.

    Args:
        work: What to do. It is pickled, here and below (see `run_in_fork`).
    """
    ending = run_in_fork(_Attempt(work))
    assert ending.status == 0, f"the work {ending}"
    return list(ending.answer[1])


def kill_at(work: Callable[[], object], point: int) -> bool:
    """Run work in a child that dies at a point; return whether it got there."""
    ending = run_in_fork(_Attempt(work, point))
    assert ending.status in {0, _KILLED}, f"the work that was to be killed at point {point} {ending}"
    return ending.status == _KILLED


def full_at(work: Callable[[], object], point: int, refusal: type[Exception]) -> bool:
    """Run work in a child whose disk is full at a point; return whether it was refused with that error, or else succeeded."""
    ending = run_in_fork(_Attempt(work, point, is_full=True, refusals=(refusal,)))
    assert ending.status == 0, f"the work whose disk was full at point {point} {ending}"
    return bool(ending.answer[0])
