"""Expectations about a column as a whole: its statistics and the distances of its distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import polars as pl

from servers.ingestion.expectations import arguments as accept
from servers.ingestion.expectations.arguments import optional, required
from servers.ingestion.expectations.checks import Check, ColumnCheck, Observation
from servers.ingestion.expectations.column import Column, Table
from servers.ingestion.expectations.column_values import as_times, must_parse
from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.limits import MAX_OBSERVED_VALUES
from servers.ingestion.expectations.literals import bound_of, is_in, values_of
from servers.ingestion.expectations.rule import bounds_contradict, rule

Arguments = Mapping[str, Any]

_COLUMN = {"column": required(accept.text)}
_STRICT = {"strict_min": optional(accept.truth, False), "strict_max": optional(accept.truth, False)}
_BOUNDS = {"min_value": optional(accept.bound), "max_value": optional(accept.bound)} | _STRICT
_NUMBERS = {"min_value": optional(accept.number), "max_value": optional(accept.number)} | _STRICT
_COUNTS = {"min_value": optional(accept.count), "max_value": optional(accept.count)} | _STRICT
_SHARES = {"min_value": optional(accept.share), "max_value": optional(accept.share)} | _STRICT
_PARSE = {"parse_strings_as_datetimes": optional(accept.truth, False)}


def lies_between(observed: Any, low: Any, high: Any, given: Arguments) -> bool:
    """Return whether a statistic is within its bounds; one that there is not, is not."""
    if observed is None or observed != observed:
        return False
    above = low is None or (observed > low if given["strict_min"] else observed >= low)
    return above and (high is None or (observed < high if given["strict_max"] else observed <= high))


def _statistic(aggregate: pl.Expr, given: Arguments, low: Any, high: Any) -> ColumnCheck:
    return ColumnCheck((aggregate,), lambda observed: Observation(lies_between(observed, low, high, given), observed))


def _bounds(column: Column, given: Arguments) -> tuple[Any, Any]:
    low, high = given["min_value"], given["max_value"]
    return (None if low is None else bound_of(column, low), None if high is None else bound_of(column, high))


def _extreme(table: Table, given: Arguments, *, highest: bool) -> Check:
    column, unparseable = as_times(table.column(given["column"]), given)
    column.need(column.is_orderable, "values with an order")
    # Python compares dates only with dates: the bound's time counts, so the extreme is seen as a time as well.
    value = column.value.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.value
    low, high = _bounds(column, given)

    def conclude(observed: Any, missed: int) -> Observation:
        must_parse(column, missed)
        return Observation(lies_between(observed, low, high, given), observed)

    return ColumnCheck((value.max() if highest else value.min(), unparseable.sum()), conclude)


@rule("expect_column_min_to_be_between", _COLUMN | _BOUNDS | _PARSE, contradiction=bounds_contradict)
def _min(table: Table, given: Arguments) -> Check:
    return _extreme(table, given, highest=False)


@rule("expect_column_max_to_be_between", _COLUMN | _BOUNDS | _PARSE, contradiction=bounds_contradict)
def _max(table: Table, given: Arguments) -> Check:
    return _extreme(table, given, highest=True)


def _numeric(table: Table, given: Arguments) -> Column:
    column = table.column(given["column"])
    if column.dtype == pl.Boolean:
        return Column(column.name, pl.UInt8(), column.value.cast(pl.UInt8))
    return column.need(column.is_number, "numbers")


@rule("expect_column_mean_to_be_between", _COLUMN | _NUMBERS, contradiction=bounds_contradict)
def _mean(table: Table, given: Arguments) -> Check:
    return _statistic(_numeric(table, given).value.cast(pl.Float64).mean(), given, given["min_value"], given["max_value"])


@rule("expect_column_median_to_be_between", _COLUMN | _NUMBERS, contradiction=bounds_contradict)
def _median(table: Table, given: Arguments) -> Check:
    return _statistic(_numeric(table, given).value.cast(pl.Float64).median(), given, given["min_value"], given["max_value"])


@rule("expect_column_stdev_to_be_between", _COLUMN | _NUMBERS, contradiction=bounds_contradict)
def _stdev(table: Table, given: Arguments) -> Check:
    return _statistic(_numeric(table, given).value.cast(pl.Float64).std(), given, given["min_value"], given["max_value"])


@rule("expect_column_sum_to_be_between", _COLUMN | _NUMBERS, contradiction=bounds_contradict)
def _sum(table: Table, given: Arguments) -> Check:
    column = _numeric(table, given)
    # Sums of 64-bit numbers wrap around without a word.
    value = column.value.cast(pl.Int128) if column.dtype in (pl.Int64, pl.UInt64) else column.value
    return _statistic(value.sum(), given, *_bounds(column, given))


@rule("expect_column_quantile_values_to_be_between", _COLUMN | {
    "quantile_ranges": required(accept.quantile_ranges),
    "allow_relative_error": optional(accept.interpolation, False),
})  # fmt: skip
def _quantiles(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_number or column.is_time, "numbers, dates or times")
    quantiles: list[float] = given["quantile_ranges"]["quantiles"]
    ranges = [
        tuple(None if bound is None else bound_of(column, bound) for bound in bounds) for bounds in given["quantile_ranges"]["value_ranges"]
    ]
    how = given["allow_relative_error"] or "nearest"
    # Python compares dates only with dates: a bound may have a time, so the quantile has one as well.
    value = column.value.cast(pl.Datetime("us")) if column.dtype == pl.Date else column.value

    def conclude(*values: Any) -> Observation:
        verdicts = [
            value is not None and (low is None or value >= low) and (high is None or value <= high)
            for value, (low, high) in zip(values, ranges, strict=True)
        ]
        return Observation(all(verdicts), {"quantiles": quantiles, "values": list(values)}, details={"success_details": verdicts})

    return ColumnCheck(tuple(_quantile(value, quantile, how, column.is_number) for quantile in quantiles), conclude)


def _quantile(value: pl.Expr, quantile: float, how: Any, is_number: bool) -> pl.Expr:
    if how in ("linear", "midpoint"):
        return (value.cast(pl.Float64) if is_number else value).quantile(quantile, how)
    # Polars' own makes floats of whole numbers, and rounds halves up where NumPy, and so GX, rounds them to even.
    place = (value.count().cast(pl.Float64) - 1) * quantile
    at = {"lower": place.floor(), "higher": place.ceil()}.get(how, place.round(mode="half_to_even"))
    return value.drop_nulls().sort().get(at.cast(pl.Int64), null_on_oob=True)


@rule("expect_column_unique_value_count_to_be_between", _COLUMN | _COUNTS, contradiction=bounds_contradict)
def _distinct(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar, "single values")
    return _statistic(column.value.drop_nulls().n_unique(), given, given["min_value"], given["max_value"])


@rule("expect_column_proportion_of_unique_values_to_be_between", _COLUMN | _SHARES, contradiction=bounds_contradict)
def _distinct_share(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar, "single values")

    def conclude(distinct: int, values: int) -> Observation:
        observed = distinct / values if values else 0
        return Observation(lies_between(observed, given["min_value"], given["max_value"], given), observed)

    return ColumnCheck((column.value.drop_nulls().n_unique(), column.value.count()), conclude)


@rule("expect_column_proportion_of_non_null_values_to_be_between", _COLUMN | _SHARES, contradiction=bounds_contradict)
def _filled_share(table: Table, given: Arguments) -> Check:
    def conclude(values: int, rows: int) -> Observation:
        observed = values / rows if rows else 0
        return Observation(lies_between(observed, given["min_value"], given["max_value"], given), observed)

    return ColumnCheck((table.column(given["column"]).value.count(), table.row_count), conclude)


_SET = _COLUMN | {"value_set": required(accept.value_set)}


def _distinct_rule(table: Table, given: Arguments, *, only: bool, every: bool) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar, "single values")
    member = is_in(column, given["value_set"])
    wanted = [value for value in given["value_set"] if value is not None]
    fitting = values_of(column, wanted)
    other = column.value.filter(~member)
    aggregates = (
        other.n_unique(),
        other.unique().sort().head(MAX_OBSERVED_VALUES).implode(),
        column.value.filter(member).unique().implode(),
    )

    def conclude(others: int, listed: list[Any], found: list[Any]) -> Observation:
        missing = [value for value in fitting.unique(maintain_order=True) if value not in set(found)]
        # Values that the column's type cannot hold are missing from it, too.
        missing_count = len(missing) + len(set(wanted)) - fitting.n_unique()
        details: dict[str, object] = {}
        if only:
            details |= {"unexpected_count": others, "partial_unexpected_list": listed}
        if every:
            details |= {"missing_count": missing_count, "partial_missing_list": missing[:MAX_OBSERVED_VALUES]}
        return Observation((not only or others == 0) and (not every or missing_count == 0), details=details)

    return ColumnCheck(aggregates, conclude)


@rule("expect_column_distinct_values_to_be_in_set", _SET)
def _distinct_in(table: Table, given: Arguments) -> Check:
    return _distinct_rule(table, given, only=True, every=False)


@rule("expect_column_distinct_values_to_contain_set", _SET)
def _distinct_contain(table: Table, given: Arguments) -> Check:
    return _distinct_rule(table, given, only=False, every=True)


@rule("expect_column_distinct_values_to_equal_set", _SET)
def _distinct_equal(table: Table, given: Arguments) -> Check:
    return _distinct_rule(table, given, only=True, every=True)


@rule("expect_column_most_common_value_to_be_in_set", _SET | {"ties_okay": optional(accept.truth)})
def _most_common(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar, "single values")
    modes = column.value.drop_nulls().mode()
    in_set = values_of(column, given["value_set"])

    def conclude(number: int, listed: list[Any], members: int) -> Observation:
        return Observation(members > 0 if given["ties_okay"] else number == members == 1, listed, details={"tied_count": number})

    return ColumnCheck((modes.len(), modes.sort().head(MAX_OBSERVED_VALUES).implode(), modes.is_in(in_set.implode()).sum()), conclude)


def _divergence_contradicts(given: Arguments) -> str | None:
    partition, tail, inner = given["partition_object"], given["tail_weight_holdout"], given["internal_weight_holdout"]
    if "tail_weights" in partition and tail:
        return "tail_weight_holdout cannot be given beside tail_weights of the partition"
    if "values" in partition and inner:
        return "internal_weight_holdout is only for a partition into bins"
    if "bins" in partition and not given["bucketize_data"]:
        return "bucketize_data false is only for a partition into values"
    return None


@rule(
    "expect_column_kl_divergence_to_be_less_than",
    _COLUMN
    | {
        "partition_object": required(accept.partition),
        "threshold": required(accept.positive),
        "tail_weight_holdout": optional(accept.share, 0),
        "internal_weight_holdout": optional(accept.share, 0),
        "bucketize_data": optional(accept.truth, True),
    },
    contradiction=_divergence_contradicts,
)
def _divergence(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    partition = given["partition_object"]
    if "values" in partition:
        return _divergence_of_values(column.need(column.is_scalar, "single values"), given)
    value = column.need(column.is_number, "numbers").value
    bins: list[float] = partition["bins"]
    # Each bin has its lower edge; the last one has its upper edge, too.
    below = [(value < edge).sum() for edge in bins] + [(value <= bins[-1]).sum(), value.count()]

    def conclude(*counts: int) -> Observation:
        *edges, within, values = counts
        if not values:
            raise CannotRun(Reason.ENGINE_ERROR, f"Column {column.name!r} has no values to compare a distribution with.")
        edges[-1] = within
        observed = [edges[0], *(high - low for low, high in pairwise(edges)), values - within]
        tail, inner = given["tail_weight_holdout"], given["internal_weight_holdout"]
        empty = partition["weights"].count(0)
        expected = [weight * (1 - tail - inner) if weight or not inner else inner / empty for weight in partition["weights"]]
        left, right = partition.get("tail_weights", [tail / 2, tail / 2])
        return _verdict([count / values for count in observed], [left, *expected, right], given)

    return ColumnCheck(tuple(below), conclude)


def _divergence_of_values(column: Column, given: Arguments) -> Check:
    partition = given["partition_object"]
    fitting = dict(zip(map(str, partition["values"]), partition["weights"], strict=True))
    value = column.value.drop_nulls()

    def conclude(counts: list[dict[str, Any]], values: int) -> Observation:
        if not values:
            raise CannotRun(Reason.ENGINE_ERROR, f"Column {column.name!r} has no values to compare a distribution with.")
        observed = {_key(entry["value"]): entry["count"] / values for entry in counts}
        new = observed.keys() - fitting.keys()
        tail = given["tail_weight_holdout"]
        expected = {key: weight * (1 - tail if new else 1) for key, weight in fitting.items()} | {key: tail / len(new) for key in new}
        return _verdict([observed.get(key, 0.0) for key in expected], list(expected.values()), given)

    return ColumnCheck((value.alias("value").value_counts().implode(), column.value.count()), conclude)


def _key(value: Any) -> str:
    # The suite has 1 where a column of floats has 1.0.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _verdict(observed: list[float], expected: list[float], given: Arguments) -> Observation:
    total_observed, total_expected = math.fsum(observed), math.fsum(expected)
    divergence = 0.0
    for p, q in zip(observed, expected, strict=True):
        if p:
            divergence += p / total_observed * math.log(p * total_expected / (total_observed * q)) if q else math.inf
    details = {"observed_weights": observed[:MAX_OBSERVED_VALUES], "expected_weights": expected[:MAX_OBSERVED_VALUES]}
    return Observation(divergence <= given["threshold"], None if math.isinf(divergence) else divergence, details=details)
