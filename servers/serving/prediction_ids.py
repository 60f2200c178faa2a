"""Identifiers of predictions: UUIDs of version 7 (RFC 9562), which sort by the time they were made."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator

_STOCK = 256
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

# Asking the system for randomness costs more than the rest, so it is asked for many at a time. Taking one out of a deque needs no lock.
_stock: deque[str] = deque()
os.register_at_fork(after_in_child=_stock.clear)


def new_prediction_id() -> str:
    """Makes a UUID of version 7, as text: 48 bits of milliseconds since 1970 and 74 random ones."""
    try:
        random = _stock.popleft()
    except IndexError:
        _stock.extend(_random_parts(_STOCK))
        return new_prediction_id()
    now = f"{time.time_ns() // 1_000_000:012x}"
    return f"{now[:8]}-{now[8:]}{random}"


def _random_parts(count: int) -> Iterator[str]:
    """What stands behind the time, with version and variant in their places."""
    digits = os.urandom(10 * count).hex()
    for start in range(0, len(digits), 20):
        part = digits[start : start + 19]
        yield f"-7{part[:3]}-{_VARIANTS[part[3]]}{part[4:7]}-{part[7:]}"
