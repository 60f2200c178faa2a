"""What a subscription at work tells its server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servers.ingestion.data_process.kafka.message import Rejected
from servers.ingestion.data_process.kafka.positions import Partition, Position
from servers.runtime.data_process.messages import OnProgress, facts_of
from servers.runtime.errors import DomainError

_INTERVAL_S = 1.0

_DESCRIBE_INTERVAL_S = 10.0
"""Time between two descriptions of the dataset, in seconds: each is a look at its log here, and work for others there."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did."""

    version: int | None
    """The dataset's; None where there is none."""
    rows_written: int
    rejected: Sequence[Rejected]
    """Rows that the schema contract left out."""


class Report:
    """Tells what changed, once a second at most.

    Args:
        on_progress: Who is told.
        most_rejected: Rejected messages that are told of, the last ones.
        describe: Describes the dataset.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        on_progress: OnProgress,
        most_rejected: int,
        describe: Callable[[], Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_progress = on_progress
        self._describe = describe
        self._clock = clock
        self._rejected: deque[Rejected] = deque(maxlen=most_rejected)
        self._rows_written = self._rows_rejected = 0
        self._version: int | None = None
        self._facts: dict[str, Any] = {}
        self._told: dict[Partition, list[Any]] = {}
        self._told_error: str | None = None
        self._next = self._next_description = clock()
        self._is_described = True

    def add_started(self) -> None:
        """Notes that each partition has its place."""
        self._facts["is_started"] = True

    def add_assigned(self, assigned: Mapping[Partition, Position]) -> None:
        """Notes which partitions this reader has now."""
        self._facts["assigned"] = [list(partition) for partition in assigned]
        self._told = {}

    def add_written(self, rejected: Sequence[Rejected], committed: Committed | None) -> None:
        """Notes what became of messages."""
        for each in (*rejected, *(committed.rejected if committed is not None else ())):
            self._rows_rejected += 1
            self._rejected.append(each)
        if committed is not None:
            self._rows_written += committed.rows_written
            if committed.version is not None:
                self._version, self._is_described = committed.version, False

    def send(
        self,
        positions: Mapping[Partition, Position],
        end_offset: Callable[[Partition], int | None],
        error: DomainError | None,
        *,
        at_once: bool = False,
    ) -> None:
        """Tells what changed.

        Args:
            positions: How far partitions are, all that is read of them being dealt with.
            end_offset: Says which offset the next message of a partition will have.
            error: What is tried again.
            at_once: Whether not to wait for the time.
        """
        if not at_once and self._clock() < self._next:
            return
        self._next = self._clock() + _INTERVAL_S
        now = {
            partition: [*partition, position.next, position.written, max(position.next, end_offset(partition) or 0)]
            for partition, position in positions.items()
        }
        changed = [entry for partition, entry in now.items() if self._told.get(partition) != entry]
        message = None if error is None else error.message
        describes = not self._is_described and (at_once or self._clock() >= self._next_description)
        is_news = bool(changed or self._facts or self._rows_written or self._rows_rejected or describes) or self._version is not None
        if not is_news and message == self._told_error:
            return
        # Who has partitions has overcome what the server may still tell of.
        has_error_news = message != self._told_error or bool(self._facts.get("assigned"))
        self._on_progress(
            {
                **self._facts,
                **({"error": None if error is None else facts_of(error)} if has_error_news else {}),
                "partitions": changed,
                "rows_written": self._rows_written,
                "rows_rejected": self._rows_rejected,
                "rejected": [each.told() for each in self._rejected],
                "version": self._version,
                "dataset": self._describe() if describes else None,
            }
        )
        if describes:
            self._is_described, self._next_description = True, self._clock() + _DESCRIBE_INTERVAL_S
        self._facts, self._told, self._told_error = {}, self._told | now, message
        self._rows_written = self._rows_rejected = 0
        self._rejected.clear()
        self._version = None
