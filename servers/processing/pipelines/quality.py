"""Statistics of outputs, and which rules they break."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from google.protobuf.struct_pb2 import Value
from mlops.ingestion.v1.profile_service_pb2 import ColumnProfile, DatasetProfile
from mlops.processing.v1 import pipeline_pb2 as pb

from servers.processing.pipelines.records import ColumnQuality, OutputQuality

MOST_RUNS = 10
"""Runs with whose median a value is compared."""

LEAST_RUNS = 3
"""Runs before which nothing is said of a change."""

_NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal")
_STATISTICS: Mapping[int, Callable[[ColumnQuality], float | None]] = {
    pb.QUALITY_STATISTIC_NULL_FRACTION: lambda column: column.null_fraction,
    pb.QUALITY_STATISTIC_DISTINCT_COUNT: lambda column: column.distinct_count,
    pb.QUALITY_STATISTIC_MEAN: lambda column: column.mean,
    pb.QUALITY_STATISTIC_STANDARD_DEVIATION: lambda column: column.standard_deviation,
    pb.QUALITY_STATISTIC_MINIMUM: lambda column: column.minimum,
    pb.QUALITY_STATISTIC_MAXIMUM: lambda column: column.maximum,
}


@dataclass(frozen=True)
class Breach:
    """A rule that does not hold.

    Args:
        rule: Its name.
        value: Of the statistic; None where the column has none.
        message: What was found and what is allowed.
    """

    rule: str
    value: float | None
    message: str


def quality_of_profile(job_id: str, profile: DatasetProfile, now: datetime) -> OutputQuality:
    """Returns the statistics of an output, from the profile of its version."""
    columns = tuple(_column(each, profile.row_count) for each in profile.columns)
    return OutputQuality(job_id, profile.dataset, profile.version, profile.row_count, columns, now)


def statistic_of(rule: pb.QualityRule, quality: OutputQuality) -> float | None:
    """Returns the number that a rule is about; None where there is none."""
    if rule.statistic == pb.QUALITY_STATISTIC_ROW_COUNT:
        return float(quality.row_count)
    column = next((each for each in quality.columns if each.column == rule.column), None)
    return None if column is None else _STATISTICS[rule.statistic](column)


def breach_of(rule: pb.QualityRule, quality: OutputQuality, before: Sequence[OutputQuality]) -> Breach | None:
    """Says why a rule does not hold; None where it does.

    Args:
        rule: The rule.
        quality: After the run.
        before: Statistics of the same output after runs before, at most `MOST_RUNS`; with fewer than `LEAST_RUNS` values nothing is said of
            the change against them.
    """
    what = _named(rule)
    value = statistic_of(rule, quality)
    if value is None:
        return Breach(rule.name, None, f"{what} is not known: the column has no numbers, or is gone; {_allowed(rule)}")
    if rule.HasField("at_least") and value < rule.at_least:
        return Breach(rule.name, value, f"{what} is {value:.6g}; at least {rule.at_least:.6g} is allowed")
    if rule.HasField("at_most") and value > rule.at_most:
        return Breach(rule.name, value, f"{what} is {value:.6g}; at most {rule.at_most:.6g} is allowed")
    if rule.HasField("most_relative_change"):
        return _changed(rule, what, value, [one for one in (statistic_of(rule, each) for each in before) if one is not None])
    return None


def _changed(rule: pb.QualityRule, what: str, value: float, before: Sequence[float]) -> Breach | None:
    if len(before) < LEAST_RUNS:
        return None
    usual = median(before)
    # Of nothing, every change is infinitely much.
    if value == usual or abs(value - usual) <= rule.most_relative_change * abs(usual):
        return None
    return Breach(
        rule.name,
        value,
        f"{what} is {value:.6g}, and the median of {len(before)} runs before {usual:.6g}; "
        f"a change by {rule.most_relative_change:.6g} of it is allowed",
    )


def _named(rule: pb.QualityRule) -> str:
    name = pb.QualityStatistic.Name(rule.statistic).removeprefix("QUALITY_STATISTIC_")
    return f"{name} of {rule.dataset}" if not rule.column else f"{name} of {rule.dataset}.{rule.column}"


def _allowed(rule: pb.QualityRule) -> str:
    bounds = [f"{name} {getattr(rule, name):.6g}" for name in ("at_least", "at_most", "most_relative_change") if rule.HasField(name)]
    return f"the rule says {', '.join(bounds)}"


def _column(profile: ColumnProfile, rows: int) -> ColumnQuality:
    fraction = profile.null_count / rows if rows else 0.0
    if not profile.type.startswith(_NUMBERS):
        return ColumnQuality(profile.name, fraction, profile.distinct_count)
    return ColumnQuality(
        profile.name,
        fraction,
        profile.distinct_count,
        profile.mean if profile.HasField("mean") else None,
        profile.standard_deviation if profile.HasField("standard_deviation") else None,
        _number(profile.minimum),
        _number(profile.maximum),
    )


def _number(value: Value) -> float | None:
    """A value as a preview has it: numbers that doubles do not hold are texts there."""
    if value.HasField("number_value"):
        return value.number_value
    try:
        found = float(value.string_value)
    except ValueError:
        return None
    return None if math.isnan(found) else found
