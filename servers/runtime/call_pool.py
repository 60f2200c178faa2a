"""The threads that run calls, and those that refuse the calls that are too many."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

MOST_REFUSALS = 1024
"""Calls that may wait for their refusal. gRPC itself refuses those beyond, without details, so that their number has an end too."""

_DOORMEN = 2
_here = threading.local()

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def is_doorman() -> bool:
    """Whether the calls that this thread runs are to be refused."""
    return getattr(_here, "refuses", False)


class CallPool(ThreadPoolExecutor):
    """Runs as many calls at the same time as it has threads, and lets as many more wait as it may hold.

    gRPC hands over each call when it arrives, so this is the place that knows of the calls that wait; an interceptor learns of a call only
    once it has a thread. A call above the limit gets one of two threads of its own kind (`is_doorman`), which refuse it without waiting
    behind those that were accepted. Health and reflection refuse nobody, so that they are answered there.

    Args:
        worker_threads: Calls that run at the same time.
        max_calls: Calls that run or wait at the same time.
        name: What the threads are called.
    """

    def __init__(self, worker_threads: int, max_calls: int, name: str) -> None:
        super().__init__(worker_threads, thread_name_prefix=name)
        self._places = threading.Semaphore(max_calls)
        self._doormen = ThreadPoolExecutor(_DOORMEN, thread_name_prefix=f"{name}-doorman", initializer=_refuse_here)

    def submit(self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Future[_Result]:
        """Runs a call, or lets it be refused; see `ThreadPoolExecutor.submit`."""
        if not self._places.acquire(blocking=False):
            return self._doormen.submit(fn, *args, **kwargs)
        try:
            call = super().submit(fn, *args, **kwargs)
        except BaseException:
            self._places.release()
            raise
        call.add_done_callback(lambda _: self._places.release())
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - its base has it
        """Takes no more calls, and runs those that wait, whatever `cancel_futures` says: a closed `Admission` refuses them.

        Cancelling holds the lock of `submit` while it calls back into gRPC, which wants its own lock, and holds that while it submits.
        """
        self._doormen.shutdown(wait)
        super().shutdown(wait)


def _refuse_here() -> None:
    _here.refuses = True
