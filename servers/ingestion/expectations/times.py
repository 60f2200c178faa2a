"""Texts as dates, by the parser that GX uses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
from dateutil import parser

from servers.ingestion.expectations import limits

# What a text leaves out (the year, say) has to come from somewhere; from today it would make the report depend on the day.
_DEFAULT = datetime(1970, 1, 1)


def time_of(value: str) -> datetime | None:
    """Return the date that a text says; None where it says none."""
    if len(value) > limits.MAX_DATE_CHARACTERS:
        return None
    try:
        moment = parser.parse(value, default=_DEFAULT)
    except (ValueError, OverflowError):
        return None
    return moment if isinstance(moment, datetime) else None


def _microseconds(value: str) -> datetime | None:
    moment = time_of(value)
    # One column has one kind of time: offsets are counted in, and then left out.
    return moment if moment is None or moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def times_of(values: pl.Expr) -> pl.Expr:
    """Return texts as times in microseconds, those with an offset in UTC; null where a text is no date."""
    return each_distinct(values, _microseconds, pl.Datetime("us"))


def each_distinct(values: pl.Expr, function: Callable[[str], object], dtype: pl.DataType) -> pl.Expr:
    """Return `function` of each text, called once a distinct text of a morsel; null stays null."""

    def of_series(series: pl.Series) -> pl.Series:
        distinct = series.drop_nulls().unique()
        if not len(distinct):
            return pl.Series(series.name, [None] * len(series), dtype=dtype)
        answers = pl.Series([function(value) for value in distinct], dtype=dtype)
        return series.replace_strict(distinct, answers, default=None, return_dtype=dtype)

    return values.map_batches(of_series, return_dtype=dtype, is_elementwise=True)
