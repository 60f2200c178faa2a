"""Which calls a server lets in, and whether those that were have been answered."""

from __future__ import annotations

import threading

import grpc

from servers.runtime.call_pool import is_doorman
from servers.runtime.errors import ResourceExhausted, Unavailable

REFUSED = "x-mlmesh-refused"
"""Trailer of a call that was refused before anything was done for it. It may be repeated whatever its method's idempotency."""


class Stopping(Unavailable):
    """The server is stopping and has not begun the call."""

    reason = "SERVER_STOPPING"

    def __init__(self) -> None:
        super().__init__("This server is stopping; nothing was done, repeat the call.", retry_after_s=0.5)


class Overloaded(ResourceExhausted):
    """The server has as many calls as it takes on, and has not begun this one.

    Without the trailer `REFUSED`, on which callers would repeat it at once: that is no time to send more.
    """

    reason = "SERVER_OVERLOADED"

    def __init__(self, max_calls: int) -> None:
        super().__init__(
            f"This server has {max_calls:,} calls that run or wait, and takes no more; nothing was done, repeat the call later.",
            metadata={"max_concurrent_calls": str(max_calls)},
            retry_after_s=1,
        )


class Admission:
    """Refuses the calls that `CallPool` has no place for, counts those that run, and refuses all once it is closed.

    gRPC's own limit answers without details. Its own shutdown sends GOAWAY, and answers what arrives before the client has seen that with
    CANCELLED, which a client cannot tell from a call that was begun (ADR 0010).
    """

    def __init__(self, max_calls: int) -> None:
        self.stopping = threading.Event()
        """Set when the server begins to stop; endless streams look at it."""
        # The lock itself is taken where nobody is waited for: a condition's own `with` is Python code, and every call would run it.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._running = 0
        self._is_closed = False
        self._max_calls = max_calls

    def enter(self, context: grpc.ServicerContext) -> None:
        """Lets a call in.

        Args:
            context: Its context; the call counts as running until its last byte has been handed to the transport.

        Raises:
            Stopping: The server takes no more calls.
            Overloaded: It has too many of them.
        """
        with self._lock:
            if self._is_closed:
                raise Stopping
            # A coroutine needs no thread, so `CallPool` does not know of it.
            if is_doorman() or self._running >= self._max_calls:
                raise Overloaded(self._max_calls)
            self._running += 1
        if not context.add_callback(self._leave):
            self._leave()

    def close(self) -> None:
        """Refuses calls from now on."""
        with self._changed:
            self._is_closed = True

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Waits for the calls that were let in.

        Args:
            timeout_s: Longest time to wait, in seconds.

        Returns:
            Whether none runs any more.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout_s)

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            if self._is_closed:
                self._changed.notify_all()
