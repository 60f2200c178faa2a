"""Requests of a streaming call on their way from the event loop to the thread that serves the call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from servers.runtime.errors import DomainError

_FULL_BYTES = 4 * 1024 * 1024
_ROOM_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024
# What a message costs beside its bytes, so that those of none or a few do not pile up.
_MESSAGE_BYTES = 64


class CallerLeft(Exception):
    """The stream ended because its caller left."""


class RequestStream:
    """Hands messages over, and holds the sender back while too many wait.

    Args:
        pause: Stops reading from the connection; called by the loop.
        resume: Goes on reading; called by the serving thread.
        is_raw: Whether the messages are pieces of one body, cut where the socket cut them. What waits is then handed over as one: each
            time that a thread wakes another costs more than to copy what it wakes it for.
    """

    def __init__(self, pause: Callable[[], object], resume: Callable[[], object], *, is_raw: bool) -> None:
        self._is_raw = is_raw
        self._pause = pause
        self._resume = resume
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._end: Exception | None = None

    def put(self, messages: Sequence[Any]) -> None:
        """Adds what has arrived: bytes, or messages that are to be decompressed."""
        with self._changed:
            self._waiting.extend(messages)
            self._waiting_bytes += sum(map(len, messages)) + _MESSAGE_BYTES * len(messages)
            if self._waiting_bytes > _FULL_BYTES and not self._is_paused:
                self._is_paused = True
                self._pause()
            self._changed.notify()

    def end(self, error: Exception | None = None) -> None:
        """Says that nothing comes after what has arrived.

        Args:
            error: Why the stream ends before its time: a refusal of what it carries, or `CallerLeft`.
        """
        with self._changed:
            if self._end is None:
                self._end = error or StopIteration()
            if isinstance(self._end, CallerLeft):
                self._waiting.clear()
            self._changed.notify()

    def __iter__(self) -> Iterator[Any]:
        """The messages, in order."""
        return self

    def __next__(self) -> Any:
        """Waits for the next message. A refusal is handed on as if it were one, so that whoever decodes raises it inside the call."""
        with self._changed:
            while not self._waiting:
                if isinstance(self._end, DomainError):
                    refusal, self._end = self._end, StopIteration()
                    return refusal
                if self._end is not None:
                    raise self._end
                self._changed.wait()
            pieces = self._next_of_body() if self._is_raw else [self._waiting.popleft()]
            self._waiting_bytes -= sum(map(len, pieces)) + _MESSAGE_BYTES * len(pieces)
            resumes = self._is_paused and self._waiting_bytes < _ROOM_BYTES
            if resumes:
                self._is_paused = False
        if resumes:
            self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next_of_body(self) -> list[bytes]:
        pieces = [self._waiting.popleft()]
        size = len(pieces[0])
        while self._waiting and size + len(self._waiting[0]) <= _PIECE_BYTES:
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        return pieces
