"""Drift beside numpy and scipy on distributions that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mlops.ingestion.v1.profile_service_pb2 import ColumnProfile
from scipy import stats

from servers.features.insight.drift import QUANTILES, mean_shift, population_stability_index


def profile_of(values: np.ndarray, ranges: int = 0) -> ColumnProfile:
    profile = ColumnProfile(quantiles=np.quantile(values, QUANTILES), mean=values.mean(), standard_deviation=values.std(ddof=1))
    if ranges:
        counts, edges = np.histogram(values, ranges)
        profile.histogram.counts.extend(counts)
        profile.histogram.edges.extend(edges)
    return profile


def exact_index(before: stats.rv_continuous, after: stats.rv_continuous) -> float:
    edges = before.ppf(QUANTILES[1:-1])
    p, q = (np.diff(np.concatenate([[0.0], each.cdf(edges), [1.0]])) for each in (before, after))
    return float(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (stats.norm(0, 1), stats.norm(0.3, 1)),
        (stats.norm(0, 1), stats.norm(0, 1.5)),
        (stats.expon(), stats.expon(scale=1.4)),
        (stats.uniform(), stats.beta(2, 2)),
    ],
)
def test_the_index_is_that_of_the_distributions(before: stats.rv_continuous, after: stats.rv_continuous) -> None:
    places = (np.arange(200_000) + 0.5) / 200_000

    found = population_stability_index(profile_of(before.ppf(places), 50), profile_of(after.ppf(places), 50))

    assert found == pytest.approx(exact_index(before, after), rel=0.1)


def test_equal_profiles_have_no_drift_whatever_is_in_them() -> None:
    samples = [np.random.default_rng(7).normal(size=1000), np.repeat([0.0, 1.0], 500), np.zeros(10), np.arange(3.0)]

    for values in samples:
        for ranges in (0, 20):
            assert population_stability_index(profile_of(values, ranges), profile_of(values, ranges)) == 0


def test_values_that_were_never_there_are_much_drift_and_a_number() -> None:
    found = population_stability_index(profile_of(np.arange(100.0)), profile_of(np.arange(1000.0, 1100.0)))

    assert found is not None
    assert 1 < found < math.inf
    few, other = np.repeat([0.0, 1.0], [900, 100]), np.repeat([0.0, 1.0], [100, 900])
    flipped = population_stability_index(profile_of(few, 20), profile_of(other, 20))
    assert flipped is not None
    assert flipped > 0.25


def test_columns_without_numbers_have_none_of_it() -> None:
    numbers, texts, same = profile_of(np.arange(10.0)), ColumnProfile(), profile_of(np.ones(3))

    assert population_stability_index(texts, numbers) is population_stability_index(numbers, texts) is None
    assert mean_shift(texts, numbers) is mean_shift(numbers, texts) is mean_shift(same, numbers) is None
    assert mean_shift(numbers, profile_of(np.arange(10.0) + 3)) == pytest.approx(3 / np.arange(10).std(ddof=1))
