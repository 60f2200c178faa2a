"""Runs a function so that it takes the processor only where nobody else wants it.

Without rights, a process that lowered its priority cannot raise it again, and a model loaded at a low priority would run at it for ever.
But on Linux the priority belongs to the thread (setpriority(2), "C library/kernel differences"): a thread of its own is lowered, loads,
and ends. Its reads from the disk are lowered with it, since their priority follows from the niceness (ioprio_set(2)).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

ResultT = TypeVar("ResultT")

LOADING_NICENESS = 15
"""Weighs 36 where everybody else weighs 1,024 (sched(7)): a thirtieth of a core that others want, and all of one that nobody does."""


def at_low_priority(function: Callable[[], ResultT]) -> ResultT:
    """Runs a function in a thread of low priority and waits for it.

    Threads that it starts keep the low priority; where they outlive it, lower nothing.

    Args:
        function: What to run.

    Returns:
        What it returns.

    Raises:
        BaseException: What it raises.
    """
    result: Future[ResultT] = Future()

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADING_NICENESS)
        try:
            result.set_result(function())
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="load-model")
    thread.start()
    thread.join()
    return result.result()
