"""Bounds and sets of a suite, which are JSON, as values of a column's type."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl

from servers.ingestion.expectations.column import Column
from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.times import time_of


def bound_of(column: Column, bound: object) -> Any:
    """Return a bound as a Python value that compares with the column's.

    Args:
        column: What it is a bound of.
        bound: A number or a text, of the suite.

    Returns:
        A number, text, date, or date with a time.

    Raises:
        CannotRun: The column holds something else.
    """
    if column.is_number and isinstance(bound, int | float) and not isinstance(bound, bool):
        # Decimals are compared with the number as it was written, not with its nearest binary fraction.
        return Decimal(str(bound)) if column.dtype.is_decimal() else bound
    if isinstance(bound, str):
        if column.is_text:
            return bound
        if column.is_time and (moment := time_of(bound)) is not None:
            return _fitting(column, moment, bound)
        if column.dtype == pl.Time:
            try:
                return time.fromisoformat(bound)
            except ValueError:
                pass
    raise CannotRun(
        Reason.BOUND_OF_ANOTHER_TYPE,
        f"{bound!r} cannot be compared with the values of column {column.name!r}, which are of type {column.dtype}.",
    )


def _fitting(column: Column, moment: datetime, bound: str) -> date | datetime:
    zone = getattr(column.dtype, "time_zone", None)
    if (zone is None) != (moment.tzinfo is None):
        needed = "without a time zone" if zone is None else "with its offset from UTC"
        raise CannotRun(
            Reason.BOUND_OF_ANOTHER_TYPE, f"{bound!r} has to be written {needed}, as column {column.name!r} is of type {column.dtype}."
        )
    return moment


def compared(column: Column, operator: str, bound: object) -> pl.Expr:
    """Return whether each value stands so to the bound; null for missing ones.

    Args:
        column: The values.
        operator: One of < <= > >=.
        bound: Of the suite.

    Raises:
        CannotRun: The two do not compare.
    """
    fitting = bound_of(column, bound)
    if column.dtype.is_integer() and isinstance(fitting, float):
        # As floats, whole numbers beyond 2^53 would be rounded first.
        fitting = math.ceil(fitting) if operator in (">=", "<") else math.floor(fitting)
        if not -(1 << 100) < fitting < 1 << 100:
            return pl.when(column.value.is_not_null()).then(pl.lit((fitting > 0) == (operator in ("<", "<="))))
    literal = pl.lit(fitting)
    match operator:
        case "<":
            return column.value < literal
        case "<=":
            return column.value <= literal
        case ">":
            return column.value > literal
        case _:
            return column.value >= literal


def values_of(column: Column, values: Iterable[object]) -> pl.Series:
    """Return those of a set's values that the column's type can hold; the others are equal to none of its values."""
    return pl.Series(
        [fitting for value in values if (fitting := _held(column, value)) is not None], dtype=column.dtype, strict=False
    ).drop_nulls()


def _held(column: Column, value: object) -> Any:
    if column.dtype == pl.Boolean:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    try:
        fitting = bound_of(column, value)
    except CannotRun:
        return None
    if column.dtype.is_integer():
        low, high = _range(column.dtype)
        return int(fitting) if fitting == math.floor(fitting) and low <= fitting <= high else None
    if column.dtype == pl.Date:
        return fitting.date() if fitting.time() == time() else None
    return fitting


def _range(dtype: pl.DataType) -> tuple[int, int]:
    bits = int(str(dtype).removeprefix("UInt").removeprefix("Int"))
    return (0, (1 << bits) - 1) if dtype.is_unsigned_integer() else (-(1 << bits - 1), (1 << bits - 1) - 1)


def is_in(column: Column, values: Iterable[object]) -> pl.Expr:
    """Return whether each value is in the set; null for missing ones."""
    return column.value.is_in(values_of(column, values).implode())
