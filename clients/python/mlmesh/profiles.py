"""What datasets have in them, as the caller sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops.ingestion.v1 import profile_service_pb2

from mlmesh.json_values import plain_value

QUANTILE_LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""What the quantiles of a profile stand for."""


@dataclass(frozen=True)
class FrequentValue:
    """A value and how often it comes.

    Args:
        value: The value as JSON has it.
        count: How often it comes, at least.
    """

    value: Any
    count: int


@dataclass(frozen=True)
class Histogram:
    """How values are distributed over ranges.

    Args:
        edges: Limits of the ranges, one more than there are ranges. Times are seconds since 1970.
        counts: Values in each range, estimated.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True)
class ColumnProfile:
    """What a column has in it.

    Args:
        name: Its name.
        type: Its type as Arrow writes it.
        null_count: Rows that are null.
        nan_count: Rows that are NaN; part of no statistic.
        distinct_count: Different values, estimated; the standard error is at most 2 %.
        minimum: Least value as JSON has it; None where there is none.
        maximum: Greatest value.
        mean: Mean of numbers, of booleans the share of true; None where there is none.
        standard_deviation: Of numbers, with n - 1; None where there is none.
        quantiles: Estimated, at `QUANTILE_LEVELS`; the rank error is at most 2 %. Of times seconds since 1970. Empty where there are none.
        histogram: Distribution of numbers and times; None where there is none.
        frequent_values: The most frequent values, of columns where some are frequent.
        mean_length: Mean length of texts in characters, of binary values in bytes; None for others.
    """

    name: str
    type: str
    null_count: int
    nan_count: int
    distinct_count: float
    minimum: Any
    maximum: Any
    mean: float | None
    standard_deviation: float | None
    quantiles: tuple[float, ...]
    histogram: Histogram | None
    frequent_values: tuple[FrequentValue, ...]
    mean_length: float | None

    @property
    def median(self) -> float | None:
        """The estimated median of numbers and times; None where there is none."""
        return self.quantiles[QUANTILE_LEVELS.index(0.5)] if self.quantiles else None


@dataclass(frozen=True)
class DatasetProfile:
    """What a dataset has in it.

    Args:
        dataset: The dataset.
        version: The version that is described.
        row_count: Its rows.
        columns: Its columns, in order.
    """

    dataset: str
    version: int
    row_count: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile:
        """Returns a column by its name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


def profile_value(message: profile_service_pb2.DatasetProfile) -> DatasetProfile:
    """Reads a profile."""
    return DatasetProfile(message.dataset, message.version, message.row_count, tuple(map(_column, message.columns)))


def _column(message: profile_service_pb2.ColumnProfile) -> ColumnProfile:
    return ColumnProfile(
        name=message.name,
        type=message.type,
        null_count=message.null_count,
        nan_count=message.nan_count,
        distinct_count=message.distinct_count,
        minimum=plain_value(message.minimum),
        maximum=plain_value(message.maximum),
        mean=message.mean if message.HasField("mean") else None,
        standard_deviation=message.standard_deviation if message.HasField("standard_deviation") else None,
        quantiles=tuple(message.quantiles),
        histogram=Histogram(tuple(message.histogram.edges), tuple(message.histogram.counts)) if message.HasField("histogram") else None,
        frequent_values=tuple(FrequentValue(plain_value(one.value), one.count) for one in message.frequent_values),
        mean_length=message.mean_length if message.HasField("mean_length") else None,
    )
