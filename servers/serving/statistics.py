"""What a loaded version did so far."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StatisticsView:
    """Counts since the version was loaded.

    Args:
        success_count: Predictions answered.
        failure_count: Predictions refused or failed.
        row_count: Rows over all answered predictions.
        compute_s: Time spent in the model over all answered predictions, in seconds.
        last_predict_time: When the last prediction was answered; None before the first.
    """

    success_count: int = 0
    failure_count: int = 0
    row_count: int = 0
    compute_s: float = 0.0
    last_predict_time: datetime | None = None


class Statistics:
    """Counts the predictions of one version; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._successes = 0
        self._failures = 0
        self._rows = 0
        self._compute_s = 0.0
        self._last: datetime | None = None

    def answered(self, rows: int, compute_s: float, at: datetime) -> None:
        """Counts a prediction that was answered."""
        with self._lock:
            self._successes += 1
            self._rows += rows
            self._compute_s += compute_s
            self._last = at

    def failed(self) -> None:
        """Counts a prediction that was refused or failed."""
        with self._lock:
            self._failures += 1

    def view(self) -> StatisticsView:
        """The counts now."""
        with self._lock:
            return StatisticsView(self._successes, self._failures, self._rows, self._compute_s, self._last)
