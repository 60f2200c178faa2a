"""Blocking work and waiting, for code that may block. `mlmesh.aio.blocking` is its twin; both are written by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

_Result = TypeVar("_Result")

Lock = threading.Lock


def run_blocking(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Runs a function that reads files or computes."""
    return function(*arguments)


def pause(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)
