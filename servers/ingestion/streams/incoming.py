"""What comes in on a stream, read ahead of what is written: as much as may wait, and no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from servers.ingestion.full_disks import noticing_full_disks
from servers.ingestion.streams.target import Target


@dataclass(frozen=True)
class GivenBatch:
    """Rows that came in a message.

    Args:
        sequence: Number of the batch.
        format: NDJSON or ARROW.
        data: The rows.
    """

    sequence: int
    format: str
    data: bytes


@dataclass(frozen=True)
class WaitingBatch:
    """Rows that wait on local disk until they are written.

    Args:
        sequence: Number of the batch.
        format: NDJSON or ARROW.
        path: The file with the rows.
        size_bytes: Its size.
    """

    sequence: int
    format: str
    path: Path
    size_bytes: int

    def described(self) -> dict[str, Any]:
        """Returns it as a data process takes it."""
        return {"sequence": self.sequence, "format": self.format, "path": str(self.path)}


Opened = tuple[Target, Iterator[GivenBatch]]


class Incoming:
    """Reads a stream in a thread of its own, which waits as soon as enough batches wait: then gRPC slows their sender down.

    Args:
        read: Waits for the first message, and gives the batches as they come. What it raises is raised by `target` or `take`, after the
            batches before it.
        folder: For the files of batches; nothing else uses it.
        most_bytes: Bytes that may wait; a single batch may be larger.
        most_batches: Batches that may wait.
    """

    def __init__(self, read: Callable[[], Opened], folder: Path, *, most_bytes: int, most_batches: int) -> None:
        self._read_stream = read
        self._folder = folder
        self._most_bytes = most_bytes
        self._most_batches = most_batches
        self._numbers = count()
        self._changed = threading.Condition()
        self._target: Target | None = None
        self._waiting: deque[WaitingBatch] = deque()
        self._waiting_bytes = 0
        self._is_closed = False
        self._has_ended = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begins to read."""
        threading.Thread(target=self._read, name="stream-of-rows", daemon=True).start()

    def close(self) -> None:
        """Takes nothing more in; what waits stays. May be called again."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def target(self, timeout_s: float) -> Target | None:
        """Returns where the batches go; None where nobody has said so in time.

        Args:
            timeout_s: Longest time to wait, in seconds.

        Raises:
            Exception: What reading failed with.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._target is not None or self._has_ended, timeout_s)
            if self._target is None and self._error is not None:
                raise self._error
            return self._target

    def take(self, timeout_s: float) -> list[WaitingBatch]:
        """Returns all batches that wait, the next one to come where none does, and nothing if none comes in time.

        Args:
            timeout_s: Longest time to wait, in seconds.

        Raises:
            Exception: What reading failed with, once no batch from before it waits.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._has_ended, timeout_s)
            taken = list(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._changed.notify_all()
            if not taken and self._error is not None:
                raise self._error
            return taken

    @property
    def is_over(self) -> bool:
        """Whether the sender has said that no more come, and none waits."""
        with self._changed:
            return self._has_ended and not self._waiting and self._error is None

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            target, batches = self._read_stream()
            with self._changed:
                self._target = target
                self._changed.notify_all()
            for given in batches:
                if not self._may_wait(len(given.data)):
                    break
                self._add(given)
        except Exception as failure:  # the thread that serves the call tells of it
            error = failure
        with self._changed:
            self._has_ended, self._error = True, error
            self._changed.notify_all()

    def _may_wait(self, size_bytes: int) -> bool:
        def is_room() -> bool:
            has_room = len(self._waiting) < self._most_batches and self._waiting_bytes + size_bytes <= self._most_bytes
            return self._is_closed or not self._waiting or has_room

        with self._changed:
            self._changed.wait_for(is_room)
            return not self._is_closed

    def _add(self, given: GivenBatch) -> None:
        # Not by its sequence: a batch that is sent again may wait again.
        path = self._folder / str(next(self._numbers))
        with noticing_full_disks():
            path.write_bytes(given.data)
        with self._changed:
            if self._is_closed:
                return
            self._waiting.append(WaitingBatch(given.sequence, given.format, path, len(given.data)))
            self._waiting_bytes += len(given.data)
            self._changed.notify_all()
