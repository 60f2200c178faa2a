"""The event loop of a server, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import uvloop

ResultT = TypeVar("ResultT")

_STOP_TIMEOUT_S = 5.0


class LoopThread:
    """Runs an event loop until it is closed.

    Args:
        name: What the thread is called.
    """

    def __init__(self, name: str) -> None:
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"{name}-loop", daemon=True)

    def start(self) -> None:
        """Starts it; safe to call twice."""
        if not self._thread.is_alive():
            self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, ResultT]) -> Future[ResultT]:
        """Runs a coroutine on the loop, in the context of the calling thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, function: Callable[[], ResultT]) -> ResultT:
        """Runs a function on the loop and waits for it. Not for use on the loop itself."""

        async def run() -> ResultT:
            return function()

        return self.submit(run()).result()

    def close(self) -> None:
        """Ends the loop and its thread."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
