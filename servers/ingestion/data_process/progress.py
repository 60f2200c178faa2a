"""How far an operation is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from servers.runtime.data_process.messages import OnProgress

_INTERVAL_S = 0.5


class RowsRead:
    """Counts the rows of a source and tells of them, at most twice a second.

    Args:
        on_progress: Who is told.
        clock: Monotonic seconds.
    """

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._next = clock()
        self.count = 0

    def counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Gives the batches on."""
        for batch in batches:
            self.add(batch.num_rows)
            yield batch

    def add(self, rows: int) -> None:
        """Counts some rows."""
        self.count += rows
        if (now := self._clock()) >= self._next:
            self._next = now + _INTERVAL_S
            self._on_progress({"rows_read": self.count})
