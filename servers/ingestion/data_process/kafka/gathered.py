"""Messages that wait to be written together."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.ingestion.data_process.kafka.message import Message


class Gathered:
    """Messages that wait to be written together.

    Args:
        most_messages: How many at most.
        most_bytes: How large they are together, about, in bytes.
        longest_s: How long the first one waits, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(self, most_messages: int, most_bytes: int, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_messages = most_messages
        self._most_bytes = most_bytes
        self._longest_s = longest_s
        self._clock = clock
        self._size_bytes = 0
        self._due = 0.0
        self.messages: list[Message] = []

    @property
    def room(self) -> int:
        """How many messages to ask for: one where there is none, so that it is had at once and its time begins."""
        if not self.messages:
            return 1
        mean_bytes = max(1, self._size_bytes // len(self.messages))
        return max(1, min(self._most_messages - len(self.messages), (self._most_bytes - self._size_bytes) // mean_bytes))

    def wait_s(self, idle_s: float) -> float:
        """Returns how long to wait for them, in seconds.

        Args:
            idle_s: How long where there is none.
        """
        return min(idle_s, max(0.0, self._due - self._clock())) if self.messages else idle_s

    def add(self, message: Message) -> None:
        """Takes a message."""
        if not self.messages:
            self._due = self._clock() + self._longest_s
        self.messages.append(message)
        self._size_bytes += len(message.value or b"") + len(message.key or b"")

    def is_due(self) -> bool:
        """Whether it is time to write them."""
        is_full = len(self.messages) >= self._most_messages or self._size_bytes >= self._most_bytes
        return bool(self.messages) and (is_full or self._clock() >= self._due)

    def take(self) -> list[Message]:
        """Returns them, and has none any more."""
        taken = self.messages
        self.clear()
        return taken

    def clear(self) -> None:
        """Drops them."""
        self.messages, self._size_bytes = [], 0
