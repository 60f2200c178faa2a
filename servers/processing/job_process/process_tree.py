"""A process and all that it started: how much memory they have, and their end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil


class ProcessTree:
    """A process and those below it.

    Args:
        pid: Its id.
    """

    def __init__(self, pid: int) -> None:
        self._root: psutil.Process | None = None
        self._seen: set[psutil.Process] = set()
        with contextlib.suppress(psutil.Error):
            self._root = psutil.Process(pid)

    def memory_bytes(self) -> int:
        """Returns the memory that they have now, in bytes. What several share counts once, as far as that can be seen cheaply.

        `smaps` would say it exactly, and hold each process up while the kernel walks its pages.
        """
        own, shared = 0, 0
        found = list(self._all())
        self._seen.update(found)
        for process in found:
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                of_others = min(getattr(memory, "shared", 0), memory.rss)
                own += memory.rss - of_others
                shared = max(shared, of_others)
        return own + shared

    def kill_below(self) -> None:
        """Kills those that were seen below the process, also those that somebody else has adopted meanwhile."""
        self._seen.update(self._all())
        for process in self._seen:
            if process != self._root:
                # It knows when the process began, so it never kills another one that has got its id.
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _all(self) -> Iterator[psutil.Process]:
        if self._root is None:
            return
        with contextlib.suppress(psutil.Error):
            yield self._root
            yield from self._root.children(recursive=True)
