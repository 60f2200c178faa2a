"""How much the distribution of a column has changed between two profiles."""

from __future__ import annotations

import math

import numpy as np
from mlops.ingestion.v1.profile_service_pb2 import ColumnProfile

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Ranks of `ColumnProfile.quantiles`."""

_LEAST_SHARE = 1e-4


def population_stability_index(baseline: ColumnProfile, now: ColumnProfile) -> float | None:
    """Returns the population stability index of a column.

    PSI = Σ (qᵢ - pᵢ) · ln(qᵢ / pᵢ), over the ranges between the baseline's quantiles, where pᵢ is the share of the baseline's values in a
    range and qᵢ that of the values now; what is below the least or above the greatest value of the baseline belongs to the first or last
    range. It is the symmetric divergence of Jeffreys (1946), under this name in N. Siddiqi, Credit Risk Scorecards (2006), chapter 10; how
    it is distributed where nothing has changed: B. Yurdakul and J. Naranjo, Statistical properties of the population stability index,
    Journal of Risk Model Validation 14(4), 2020. Both shares come from distribution functions that are linear between the points that a
    profile knows, so that equal profiles give exactly 0. A share of less than 1e-4 counts as that much, as its logarithm would have no end.

    Args:
        baseline: Before.
        now: After.

    Returns:
        The index, 0 or more; None where one of the two has no quantiles, since it has no values or they are no numbers.
    """
    before, after = _distribution(baseline), _distribution(now)
    if before is None or after is None:
        return None
    edges = np.unique(np.asarray(baseline.quantiles[1:-1]))
    shares = [np.maximum(np.diff(np.concatenate([[0.0], _below(each, edges), [1.0]])), _LEAST_SHARE) for each in (before, after)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def mean_shift(baseline: ColumnProfile, now: ColumnProfile) -> float | None:
    """Returns the difference of the means in standard deviations of the baseline; None where there is no such number."""
    if not (baseline.HasField("mean") and now.HasField("mean") and baseline.HasField("standard_deviation")):
        return None
    if not baseline.standard_deviation:
        return None
    shift = (now.mean - baseline.mean) / baseline.standard_deviation
    return shift if math.isfinite(shift) else None


def _distribution(profile: ColumnProfile) -> tuple[np.ndarray, np.ndarray] | None:
    """Points of the distribution function: `(points,)` values in order, and the share of values up to each."""
    if len(profile.quantiles) != len(QUANTILES) or not np.all(np.isfinite(profile.quantiles)):
        return None
    values, shares = [np.asarray(profile.quantiles)], [np.asarray(QUANTILES)]
    counts, edges = np.asarray(profile.histogram.counts), np.asarray(profile.histogram.edges)
    if len(edges) == len(counts) + 1 and counts.sum() > 0 and np.all(np.isfinite(edges)):
        values.append(edges)
        shares.append(np.concatenate([[0.0], np.cumsum(counts) / counts.sum()]))
    points, ranks = np.concatenate(values), np.concatenate(shares)
    order = np.lexsort((ranks, points))
    # Both are estimates, and together they need not grow.
    return points[order], np.maximum.accumulate(ranks[order])


def _below(distribution: tuple[np.ndarray, np.ndarray], edges: np.ndarray) -> np.ndarray:
    """The share of values up to each edge."""
    points, ranks = distribution
    # Of equal points the last one has the share that includes them.
    last = np.append(points[1:] != points[:-1], True)
    found: np.ndarray = np.interp(edges, points[last], ranks[last], left=0.0, right=1.0)
    return found
