"""What a loaded version did so far: how many, how long, in what batches, and why those closed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from servers.serving.batch_queue import Batch, CloseReason

DURATION_BOUNDS_S = (
    0.00001,
    0.000025,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    10.0,
)
"""Upper bounds of the buckets of a `DurationHistogram`, in seconds; one more bucket takes what is longer."""

_MOST_NOTES = 1024
"""Runs that are noted before they are counted."""

_EXACT_SIZES = 128
"""Batches of more rows are counted under the next power of two, so that a caller cannot fill memory with sizes."""


@dataclass(frozen=True, slots=True)
class DurationHistogram:
    """How often something took how long.

    Args:
        counts: How many took up to each of `DURATION_BOUNDS_S` and longer than the bound before; one more count for the longest.
        total_s: All of them together, in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS_S) + 1)
    total_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def plus(self, other: DurationHistogram) -> DurationHistogram:
        """Both together."""
        return DurationHistogram(tuple(map(sum, zip(self.counts, other.counts, strict=True))), self.total_s + other.total_s)


@dataclass(frozen=True, slots=True)
class BatchSize:
    """The runs of one size.

    Args:
        rows: Rows a run; above 128 rounded up to a power of two.
        run_count: How many runs.
        run_s: How long they took together, in seconds.
    """

    rows: int
    run_count: int
    run_s: float


@dataclass(frozen=True, slots=True)
class StatisticsView:
    """Counts since the version was loaded.

    Args:
        success_count: Predictions answered.
        failure_count: Predictions refused or failed.
        refused_count: Those of them that were refused because too many waited, or their time did not suffice.
        abandoned_count: Predictions whose callers left before the run, or all of them during it, which interrupts it.
        row_count: Rows over all answered predictions.
        run_count: Runs of the model; fewer than predictions where those shared runs.
        compute_s: Time spent in the model over all runs, in seconds.
        call_compute_s: Time that answered predictions spent in the model, in seconds: each the whole of the run that it shared.
        queue_times: How long answered predictions waited for their run.
        run_times: How long runs took.
        batch_sizes: Runs by their rows, ascending.
        close_reasons: Runs by why they took no further call.
        last_predict_time: When the last prediction was answered; None before the first.
        sharing_refusal: Why calls of the model do not share runs; empty where they do.
    """

    success_count: int = 0
    failure_count: int = 0
    refused_count: int = 0
    abandoned_count: int = 0
    row_count: int = 0
    run_count: int = 0
    compute_s: float = 0.0
    call_compute_s: float = 0.0
    queue_times: DurationHistogram = field(default_factory=DurationHistogram)
    run_times: DurationHistogram = field(default_factory=DurationHistogram)
    batch_sizes: tuple[BatchSize, ...] = ()
    close_reasons: Mapping[CloseReason, int] = field(default_factory=dict)
    last_predict_time: datetime | None = None
    sharing_refusal: str = ""


_Note = tuple[int, float, CloseReason, tuple[float, ...], float]
"""A run that is not counted yet: its rows, its time, why it closed, how long each call waited (empty where it answered nobody), its end."""


class Statistics:
    """Counts the predictions of one version.

    Written by the thread of the event loop alone, so without a lock. Other threads may read at any time. A run is only noted; notes are
    counted many at a time, which is several times as cheap.

    Args:
        clock: Monotonic seconds, as of the runs.
        now_s: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now_s: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._now_s = now_s
        self._failures = self._refused = self._abandoned = 0
        # What is counted and what is not, in one reference, so that a reader never sees a run in both or in neither.
        self._runs: tuple[StatisticsView, list[_Note]] = (StatisticsView(), [])

    def ran(self, batch: Batch, started_at: float, run_s: float, *, is_answer: bool) -> None:
        """Counts a run; see `batch_queue.QueueObserver`."""
        calls, rows, reason = batch
        queue_s = tuple([started_at - call.submitted_at for call in calls]) if is_answer else ()
        notes = self._runs[1]
        notes.append((rows, run_s, reason, queue_s, started_at + run_s))
        if len(notes) >= _MOST_NOTES:
            self._runs = (self._counted(), [])

    def refused(self) -> None:
        """Counts a prediction that was refused before its run."""
        self._refused += 1

    def abandoned(self) -> None:
        """Counts a prediction whose caller left in time to spare the run, or its rest."""
        self._abandoned += 1

    def failed(self) -> None:
        """Counts a prediction that was refused or failed, for whatever reason."""
        self._failures += 1

    def view(self, sharing_refusal: str = "") -> StatisticsView:
        """The counts now.

        Args:
            sharing_refusal: Why calls of the model do not share runs.
        """
        return replace(
            self._counted(),
            failure_count=self._failures,
            refused_count=self._refused,
            abandoned_count=self._abandoned,
            sharing_refusal=sharing_refusal,
        )

    def _counted(self) -> StatisticsView:
        """The runs so far, those among them that are only noted."""
        counted, noted = self._runs
        noted = noted.copy()
        if not noted:
            return counted
        answering = [(rows, run_s, waits, ended) for rows, run_s, _, waits, ended in noted if waits]
        runs_s = np.array([run_s for _, run_s, *_ in noted])
        waits_s = np.array([wait_s for _, _, waits, _ in answering for wait_s in waits])
        last = self._now_s() - (self._clock() - answering[-1][3]) if answering else 0.0
        sizes: dict[int, tuple[int, float]] = {}
        for rows, run_s, *_ in noted:
            counted_as = rows if rows <= _EXACT_SIZES else 1 << (rows - 1).bit_length()
            count, total_s = sizes.get(counted_as, (0, 0.0))
            sizes[counted_as] = (count + 1, total_s + run_s)
        more = StatisticsView(
            success_count=len(waits_s),
            row_count=sum(rows for rows, *_ in answering),
            run_count=len(noted),
            compute_s=float(runs_s.sum()),
            call_compute_s=sum(run_s * len(waits) for _, run_s, waits, _ in answering),
            queue_times=_histogram(waits_s),
            run_times=_histogram(runs_s),
            batch_sizes=tuple(BatchSize(rows, *sizes[rows]) for rows in sorted(sizes)),
            close_reasons=Counter(reason for _, _, reason, *_ in noted),
            last_predict_time=datetime.fromtimestamp(last, UTC) if answering else None,
        )
        return together([counted, more])


def _histogram(durations_s: np.ndarray[Any, Any]) -> DurationHistogram:
    counts = np.bincount(np.searchsorted(DURATION_BOUNDS_S, durations_s), minlength=len(DURATION_BOUNDS_S) + 1)
    return DurationHistogram(tuple(counts.tolist()), float(durations_s.sum()))


def together(views: Sequence[StatisticsView]) -> StatisticsView:
    """The counts of several generations of one version."""
    total = StatisticsView()
    for view in views:
        sizes = {size.rows: size for size in total.batch_sizes}
        for size in view.batch_sizes:
            known = sizes.get(size.rows, BatchSize(size.rows, 0, 0.0))
            sizes[size.rows] = BatchSize(size.rows, known.run_count + size.run_count, known.run_s + size.run_s)
        reasons = {reason: total.close_reasons.get(reason, 0) + view.close_reasons.get(reason, 0) for reason in CloseReason}
        total = StatisticsView(
            success_count=total.success_count + view.success_count,
            failure_count=total.failure_count + view.failure_count,
            refused_count=total.refused_count + view.refused_count,
            abandoned_count=total.abandoned_count + view.abandoned_count,
            row_count=total.row_count + view.row_count,
            run_count=total.run_count + view.run_count,
            compute_s=total.compute_s + view.compute_s,
            call_compute_s=total.call_compute_s + view.call_compute_s,
            queue_times=total.queue_times.plus(view.queue_times),
            run_times=total.run_times.plus(view.run_times),
            batch_sizes=tuple(sizes[rows] for rows in sorted(sizes)),
            close_reasons=MappingProxyType({reason: count for reason, count in reasons.items() if count}),
            last_predict_time=max((at for at in (total.last_predict_time, view.last_predict_time) if at), default=None),
            sharing_refusal=view.sharing_refusal,
        )
    return total
