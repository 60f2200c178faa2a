"""A stream from its first message to its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from servers.ingestion.streams.committing import Committing
from servers.ingestion.streams.errors import StreamExpired, StreamInterrupted, TooManyStreams
from servers.ingestion.streams.incoming import Incoming, Opened
from servers.ingestion.streams.right_to_write import RightsToWrite, RightToWrite
from servers.ingestion.streams.target import Target

_LOOK_S = 0.1


@dataclass(frozen=True, kw_only=True)
class StreamLimits:
    """What streams may take."""

    streams: int
    """Most that are open at the same time."""
    idle_s: float
    """Longest silence, in seconds."""
    lifetime_s: float
    """Longest time from the first message to the last, in seconds."""
    waiting_bytes: int
    """Bytes of batches that may wait."""
    waiting_batches: int
    """Batches that may wait."""


@dataclass(frozen=True)
class Caller:
    """What a stream has to know of its call.

    Args:
        has_left: Whether nobody is there any more.
        is_stopping: Whether the server stops.
    """

    has_left: Callable[[], bool]
    is_stopping: Callable[[], bool]

    def check(self) -> None:
        """Lets pass as long as somebody is there.

        Raises:
            StreamInterrupted: UNAVAILABLE, which nobody gets to see.
        """
        if self.has_left():
            raise StreamInterrupted("the caller has left")


@dataclass(frozen=True)
class Position:
    """Where a producer stands.

    Args:
        last_sequence: Its last batch in the dataset; 0 where there is none.
    """

    last_sequence: int


class RowStreams:
    """Serves streams, no more than allowed.

    Args:
        committing: Writes batches.
        rights: Keeps streams and deletions of a dataset apart, and streams of one producer.
        folder: For batches that wait.
        limits: What streams may take.
        clock: Monotonic seconds.
    """

    def __init__(
        self, committing: Committing, rights: RightsToWrite, folder: Path, limits: StreamLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._committing = committing
        self._rights = rights
        self._folder = folder
        self._limits = limits
        self._clock = clock
        self._places = threading.Semaphore(limits.streams)

    def answers(self, read: Callable[[], Opened], caller: Caller) -> Iterator[Position | Mapping[str, Any]]:
        """Serves one stream.

        Args:
            read: Waits for the first message, and gives the batches as they come.
            caller: Who is at the other end.

        Yields:
            The position of the producer, then what each batch is acknowledged with.

        Raises:
            DomainError: Why the stream ended before its sender ended it. What was not acknowledged is to be sent again, or not at all.
        """
        with self._place(), self._incoming(read) as incoming:
            target = self._target(incoming, caller)
            with self._rights.taken(target.project, target.dataset, target.producer, caller.check) as right:
                yield from self._written(target, incoming, right, caller)

    def _written(self, target: Target, incoming: Incoming, right: RightToWrite, caller: Caller) -> Iterator[Position | Mapping[str, Any]]:
        def check() -> None:
            caller.check()
            right.check_lease()

        begun = self._clock()
        last_sequence, seen_version = self._committing.position(target, check)
        target = replace(target, seen_version=seen_version)
        yield Position(last_sequence)
        # Whoever was not answered yet could not speak.
        heard = self._clock()
        while True:
            is_old = self._clock() >= begun + self._limits.lifetime_s
            is_stopping = caller.is_stopping()
            has_to_end = is_old or is_stopping or right.is_wanted_back
            if has_to_end:
                # What was taken in until now is written all the same.
                incoming.close()
            if batches := incoming.take(0 if has_to_end else _LOOK_S):
                for answer in self._committing.acknowledged(target, batches, check):
                    yield answer
                    if target.seen_version is None:
                        target = replace(target, seen_version=answer["version"])
                for batch in batches:
                    batch.path.unlink()
                self._committing.join_small_files(target, check)
                heard = self._clock()
                continue
            right.check()
            caller.check()
            if is_stopping:
                raise StreamInterrupted("the server stops")
            if is_old:
                raise StreamExpired(f"has lasted for {self._limits.lifetime_s:g} s, which is the limit")
            # Not where it was closed: a batch that was turned away then was not acknowledged.
            if incoming.is_over:
                return
            if self._clock() >= heard + self._limits.idle_s:
                raise StreamExpired(f"was silent for {self._limits.idle_s:g} s, which is the limit")

    def _target(self, incoming: Incoming, caller: Caller) -> Target:
        begun = self._clock()
        while (target := incoming.target(_LOOK_S)) is None:
            caller.check()
            if caller.is_stopping():
                raise StreamInterrupted("the server stops")
            if self._clock() >= begun + self._limits.idle_s:
                raise StreamExpired(f"was silent for {self._limits.idle_s:g} s, which is the limit")
        return target

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise TooManyStreams(self._limits.streams)
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def _incoming(self, read: Callable[[], Opened]) -> Iterator[Incoming]:
        # Its thread may still be at a file when the stream is over.
        with TemporaryDirectory(dir=self._folder, prefix="stream-", ignore_cleanup_errors=True) as folder:
            incoming = Incoming(read, Path(folder), most_bytes=self._limits.waiting_bytes, most_batches=self._limits.waiting_batches)
            incoming.start()
            try:
                yield incoming
            finally:
                incoming.close()
