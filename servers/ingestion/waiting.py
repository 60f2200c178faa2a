"""Calls that wait for what others do: each holds a thread of the server, so only so many may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class WaitingCalls:
    """The calls that wait.

    Args:
        most: How many may at the same time.
    """

    def __init__(self, most: int) -> None:
        self._places = threading.Semaphore(most)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Gives a call a place as long as the block runs, and says whether there is one: without, it answers how things stand."""
        may_wait = self._places.acquire(blocking=False)
        try:
            yield may_wait
        finally:
            if may_wait:
                self._places.release()
