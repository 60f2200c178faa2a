"""Blocking work and waiting, for code that may block. `mlmesh.aio.blocking` is its twin; both are written by hand."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

Lock = threading.Lock
Queue = queue.Queue


def run_blocking(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Runs a function that reads files or computes."""
    return function(*arguments)


def next_of(items: Iterator[_Item]) -> _Item | None:
    """Returns the next item; None where there is none."""
    return next(items, None)


def pause(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)
