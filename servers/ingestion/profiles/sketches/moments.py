"""Mean and variance in one pass: Chan, Golub and LeVeque (1979) over the parts that NumPy has summed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class Moments:
    """Count, mean and sum of squared deviations. What is infinite makes mean and deviation unknown.

    Args:
        count: Values.
        mean: Theirs.
        squares: Sum of the squares of what they differ from the mean by.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> Moments:
        """Takes the moments of values.

        Args:
            values: ``(n,)`` without NaN.
        """
        if not len(values):
            return cls()
        with np.errstate(all="ignore"):
            mean = float(values.mean())
            return cls(len(values), mean, float(np.square(values - mean).sum()))

    def merge(self, other: Moments) -> None:
        """Adds the values of another one."""
        count = self.count + other.count
        if not other.count:
            return
        difference = other.mean - self.mean
        self.mean = other.mean if not self.count else self.mean + difference * (other.count / count)
        self.squares += other.squares + (difference * difference * (self.count * other.count / count) if self.count else 0.0)
        self.count = count

    @property
    def known_mean(self) -> float | None:
        """The mean; None where there is none."""
        return self.mean if self.count and math.isfinite(self.mean) else None

    @property
    def standard_deviation(self) -> float | None:
        """The standard deviation with n - 1; None where there is none."""
        if self.count < 2 or not math.isfinite(self.squares):
            return None
        return math.sqrt(self.squares / (self.count - 1))
