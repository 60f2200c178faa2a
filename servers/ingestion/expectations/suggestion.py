"""A first suite for a table, from what its data look like. The data pass it; whether it says what is meant, a person decides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from servers.ingestion.expectations.column import Column, Table
from servers.ingestion.expectations.source import Source, readable
from servers.ingestion.expectations.suite import Expectation, Severity, Suite


def suggest(source: Source, name: str = "suggested", *, slack: float = 0.1, set_size: int = 20, unique_rows: int = 100) -> Suite:
    """Suggest a suite.

    Args:
        source: The table.
        name: Name of the suite.
        slack: How far ranges reach beyond what was seen, as a share of its width; also how much more may be missing.
        set_size: A column of texts or truths with at most this many different values, each seen five times on average, is a set.
        unique_rows: Rows from which on a column without repetition is taken for a key.

    Returns:
        Columns and types (critical), keys (critical), missing values, ranges, sets and lengths (warnings).
    """
    with readable(source) as frame:
        table = Table(frame.collect_schema())
        columns = [table.column(column) for column in table.schema]
        profile = (
            frame.select(pl.len().alias("rows"), *(each for column in columns for each in _profile(column)))
            .collect(engine="streaming")
            .row(0, named=True)
        )
        small = [
            column for column in columns if (column.is_text or column.dtype == pl.Boolean) and 0 < _distinct(profile, column) <= set_size
        ]
        sets = frame.select(column.value.drop_nulls().unique().sort().implode().alias(column.name) for column in small).collect(
            engine="streaming"
        )
    rows: int = profile["rows"]
    expectations = [Expectation("expect_table_columns_to_match_ordered_list", {"column_list": list(table.schema)})] if table.schema else []
    for column in columns:
        values: int = profile[f"{column.name} count"]
        expectations += _types(table.schema[column.name], column)
        expectations += _missing(column, values, rows, slack)
        if not values:
            continue
        is_set = column in small and values >= 5 * _distinct(profile, column)
        if is_set:
            members = sets[column.name].to_list()[0]
            expectations.append(_warning("expect_column_values_to_be_in_set", column=column.name, value_set=members))
        elif _distinct(profile, column) == values >= unique_rows and (column.is_text or column.dtype.is_integer()):
            expectations.append(Expectation("expect_column_values_to_be_unique", {"column": column.name}))
        if not is_set and f"{column.name} low" in profile:
            expectations += _range(column, profile[f"{column.name} low"], profile[f"{column.name} high"], slack)
    return Suite(name, tuple(expectations))


def _warning(type_: str, **kwargs: Any) -> Expectation:
    return Expectation(type_, kwargs, severity=Severity.WARNING)


def _distinct(profile: Mapping[str, Any], column: Column) -> int:
    return int(profile.get(f"{column.name} distinct") or 0)


def _profile(column: Column) -> list[pl.Expr]:
    wanted = {"count": column.value.count()}
    if column.is_scalar:
        wanted["distinct"] = column.value.drop_nulls().n_unique()
    measured = column.value.str.len_chars() if column.is_text else column.value
    if column.is_text or column.is_number or column.is_time:
        wanted |= {"low": measured.min(), "high": measured.max()}
    return [aggregate.alias(f"{column.name} {what}") for what, aggregate in wanted.items()]


def _types(dtype: pl.DataType, column: Column) -> list[Expectation]:
    if dtype == pl.Null:
        return []
    return [Expectation("expect_column_values_to_be_of_type", {"column": column.name, "type_": str(dtype.base_type())})]


def _missing(column: Column, values: int, rows: int, slack: float) -> list[Expectation]:
    if not rows or not values:
        return []
    if values == rows:
        return [_warning("expect_column_values_to_not_be_null", column=column.name)]
    mostly = math.floor(values / rows * (1 - slack) * 1000) / 1000
    return [_warning("expect_column_values_to_not_be_null", column=column.name, mostly=mostly)] if mostly > 0 else []


def _range(column: Column, low: Any, high: Any, slack: float) -> list[Expectation]:
    if column.is_text:
        wider = math.ceil((high - low) * slack)
        bounds: dict[str, Any] = {"min_value": max(low - wider, 0), "max_value": high + wider}
        return [_warning("expect_column_value_lengths_to_be_between", column=column.name, **bounds)]
    if column.is_time:
        # Time goes on: only its beginning is a range. Whole days, as a bound is written for people.
        start = low - (high - low) * slack if isinstance(low, date) else low
        day = start.replace(hour=0, minute=0, second=0, microsecond=0) if hasattr(start, "hour") else start - timedelta(days=1)
        return [_warning("expect_column_values_to_be_between", column=column.name, min_value=day)]
    if not column.is_number or not (math.isfinite(low) and math.isfinite(high)):
        return []
    bounds = _wider(low, high, slack, whole=column.dtype.is_integer())
    return [_warning("expect_column_values_to_be_between", column=column.name, **bounds)] if bounds else []


def _wider(low: Any, high: Any, slack: float, *, whole: bool) -> dict[str, Any]:
    if whole:
        reach = math.ceil((high - low) * slack)
        # What never was below zero is a count or an amount.
        return {"min_value": max(low - reach, 0 if low >= 0 else -(1 << 63)), "max_value": min(high + reach, (1 << 64) - 1)}
    low, high = float(low), float(high)
    reach = (high - low) * slack
    bounds = {"min_value": max(low - reach, 0.0) if low >= 0 else low - reach, "max_value": high + reach}
    return bounds if all(map(math.isfinite, bounds.values())) else {}
