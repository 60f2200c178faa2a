"""How long to wait for something that takes its time, and how often to look."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_GROWTH = 1.5
# A look that is cut off says nothing.
_SHORTEST_LOOK_S = 1.0


class Patience:
    """Counts from when it is made. Pauses grow, so that what is quick is seen quickly and what is slow is not asked for all the time.

    Args:
        timeout_s: Longest wait, in seconds; None = as long as it takes.
        clock: Seconds that only grow.
    """

    def __init__(self, timeout_s: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + timeout_s if timeout_s is not None else None
        self._pause_s = _FIRST_PAUSE_S

    def next_pause_s(self) -> float | None:
        """Returns how long to wait before the next look, in seconds; None where there is no time left."""
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * _GROWTH, _LONGEST_PAUSE_S)
        if self._end is None:
            return pause_s
        left_s = self._end - self._clock()
        return min(pause_s, left_s) if left_s > 0 else None

    def left_s(self) -> float | None:
        """Returns the time that is left, in seconds; None = as long as it takes."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def look_s(self, most_s: float) -> float:
        """Returns how long a look may take, in seconds.

        Args:
            most_s: What it may take where there is no hurry, in seconds.
        """
        if self._end is None:
            return most_s
        return min(most_s, max(self._end - self._clock(), _SHORTEST_LOOK_S))
