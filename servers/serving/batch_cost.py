"""What a run of a model costs: its time as `slope * rows + base`, learnt from the runs themselves.

Least squares over runs whose weight fades with each further one, kept as five sums, so that learning from a run takes about a
microsecond. Of short runs, of which there are many, most are not even looked at. numpy and others have the fit for a list of runs; none
has it one run at a time. Noise on a shared machine is one-sided (a run is never faster than it can be, and now and then ten times as slow),
so a run that took far longer than predicted counts only as a somewhat longer one: a lasting change is learnt within a few runs, a single
hiccup is hardly seen.
"""

from __future__ import annotations

_FADING = 0.97
"""Weight of a run after the next one; the last 30 or so count."""

_SURPRISE = 3.0
"""A run counts for at most this many times of what was predicted."""

_RUNS_BEFORE_DOUBT = 4
"""Runs before a surprise is one; the first runs are taken as they are."""

_SHORT_S = 0.0005
"""Of runs shorter than this, one in eight is learnt from once enough are known."""

_ENOUGH = 32


class RunCost:
    """The predicted time of a run by its rows."""

    __slots__ = ("_base_s", "_runs", "_seen", "_slope_s", "_sum", "_sum_n", "_sum_nn", "_sum_nt", "_sum_t")

    def __init__(self) -> None:
        self._runs = self._seen = 0
        self._sum = self._sum_n = self._sum_nn = self._sum_t = self._sum_nt = 0.0
        self._slope_s = self._base_s = 0.0

    @property
    def runs(self) -> int:
        """Runs it has learnt from."""
        return self._runs

    def predict(self, rows: int) -> float:
        """Time of a run of so many rows, in seconds; 0 before anything is known."""
        return self._slope_s * rows + self._base_s

    def learn(self, rows: int, run_s: float) -> None:
        """Takes a run into account.

        Args:
            rows: Its rows, 0 or more.
            run_s: How long it took, in seconds.
        """
        self._seen += 1
        if run_s < _SHORT_S and self._seen & 7 and self._runs >= _ENOUGH:
            return
        if self._runs >= _RUNS_BEFORE_DOUBT:
            run_s = min(run_s, _SURPRISE * self.predict(rows))
        self._runs += 1
        self._sum = total = self._sum * _FADING + 1.0
        self._sum_n = sum_n = self._sum_n * _FADING + rows
        self._sum_nn = sum_nn = self._sum_nn * _FADING + rows * rows
        self._sum_t = sum_t = self._sum_t * _FADING + run_s
        self._sum_nt = sum_nt = self._sum_nt * _FADING + rows * run_s
        mean_n, mean_t = sum_n / total, sum_t / total
        variance = sum_nn / total - mean_n * mean_n
        if variance > 1e-3 * mean_n * mean_n:
            slope = (sum_nt / total - mean_n * mean_t) / variance
            # More rows are never predicted to take less time, nor no rows less than none.
            self._slope_s = min(max(slope, 0.0), mean_t / mean_n)
            self._base_s = max(0.0, mean_t - self._slope_s * mean_n)
        elif mean_n > 0:
            # Runs of one size do not say what is slope and what is base. All slope errs to the safe side for larger ones.
            self._slope_s, self._base_s = mean_t / mean_n, 0.0
        else:
            self._slope_s, self._base_s = 0.0, mean_t
