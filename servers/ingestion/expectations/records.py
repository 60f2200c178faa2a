"""Expectations about several values of the same record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import combinations
from typing import Any

import polars as pl

from servers.ingestion.expectations import arguments as accept
from servers.ingestion.expectations.arguments import optional, required
from servers.ingestion.expectations.checks import Check, RowCheck, UniqueCheck
from servers.ingestion.expectations.column import Column, Table
from servers.ingestion.expectations.column_values import as_times
from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.literals import values_of
from servers.ingestion.expectations.rule import rule

Arguments = Mapping[str, Any]

_PAIR = {
    "column_A": required(accept.text),
    "column_B": required(accept.text),
    "ignore_row_if": optional(
        accept.choice("both_values_are_missing", "either_value_is_missing", "neither", "never"), "both_values_are_missing"
    ),
}
_RECORD = {
    "column_list": required(accept.record_columns),
    "ignore_row_if": optional(accept.choice("all_values_are_missing", "any_value_is_missing", "never"), "all_values_are_missing"),
}


def _considered(table: Table, columns: list[Column], ignored: str) -> pl.Expr:
    filled = [column.value.is_not_null() for column in columns]
    if ignored in ("both_values_are_missing", "all_values_are_missing"):
        return table.within(reduce(lambda left, right: left | right, filled))
    if ignored in ("either_value_is_missing", "any_value_is_missing"):
        return table.within(reduce(lambda left, right: left & right, filled))
    return pl.lit(True) if (rows := table.rows) is None else rows


def _records(table: Table, columns: list[Column], meets: pl.Expr, given: Arguments) -> RowCheck:
    considered = _considered(table, columns, given["ignore_row_if"])
    names = tuple(column.name for column in columns)
    unexpected = considered & ~meets.fill_null(False)
    return RowCheck(names, unexpected, table.row_count, _number_of(table, considered), given["mostly"])


def _number_of(table: Table, considered: pl.Expr) -> pl.Expr:
    # A literal alone has one row, whatever the table has.
    return table.row_count if considered.meta.is_literal() else considered.sum()


def _comparable(left: Column, right: Column) -> bool:
    return left.is_scalar and right.is_scalar and (
        (left.is_number and right.is_number)
        or (left.is_time and right.is_time and _zone(left) == _zone(right))
        or left.dtype.base_type() == right.dtype.base_type()
        or pl.Null in (left.dtype, right.dtype)
    )  # fmt: skip


def _zone(column: Column) -> bool:
    return getattr(column.dtype, "time_zone", None) is None


def _need_comparable(left: Column, right: Column) -> None:
    if not _comparable(left, right):
        raise CannotRun(
            Reason.TYPE_NOT_SUPPORTED,
            f"Columns {left.name!r} of type {left.dtype} and {right.name!r} of type {right.dtype} cannot be compared.",
        )


@rule("expect_column_pair_values_to_be_equal", _PAIR, mostly=True)
def _pair_equal(table: Table, given: Arguments) -> Check:
    left, right = table.column(given["column_A"]), table.column(given["column_B"])
    _need_comparable(left, right)
    return _records(table, [left, right], left.value == right.value, given)


@rule(
    "expect_column_pair_values_a_to_be_greater_than_b",
    _PAIR | {"or_equal": optional(accept.truth, False), "parse_strings_as_datetimes": optional(accept.truth, False)},
    mostly=True,
)
def _greater(table: Table, given: Arguments) -> Check:
    whole = [table.column(given["column_A"]), table.column(given["column_B"])]
    (left, _), (right, _) = (as_times(column, given) for column in whole)
    _need_comparable(left, right)
    for column in (left, right):
        column.need(column.is_orderable, "values with an order")
    return _records(table, whole, left.value >= right.value if given["or_equal"] else left.value > right.value, given)


@rule("expect_column_pair_values_to_be_in_set", _PAIR | {"value_pairs_set": required(accept.pairs)}, mostly=True)
def _pair_in_set(table: Table, given: Arguments) -> Check:
    columns = [table.column(given["column_A"]), table.column(given["column_B"])]
    for column in columns:
        column.need(column.is_scalar, "single values")
    # Each value becomes its number in the set, each pair one number, and what is in no pair -1.
    numbers, books = [], []
    for place, column in enumerate(columns):
        book: dict[object, int] = {None: 0}
        for pair in given["value_pairs_set"]:
            held = values_of(column, [pair[place]]).to_list()
            if held:
                book.setdefault(held[0], len(book))
        books.append(book)
        known = [value for value in book if value is not None]
        series = pl.Series(known, dtype=column.dtype)
        codes = pl.Series([book[value] for value in known], dtype=pl.Int64)
        number = column.value.replace_strict(series, codes, default=-1, return_dtype=pl.Int64) if known else pl.lit(-1, dtype=pl.Int64)
        numbers.append(pl.when(column.value.is_null()).then(0).otherwise(number))
    width = len(books[1])
    wanted = set()
    for pair in given["value_pairs_set"]:
        held = [values_of(column, [value]).to_list() for column, value in zip(columns, pair, strict=True)]
        if all(found or value is None for found, value in zip(held, pair, strict=True)):
            left, right = (book[found[0] if found else None] for book, found in zip(books, held, strict=True))
            wanted.add(left * width + right)
    both = (numbers[0] >= 0) & (numbers[1] >= 0)
    meets = both & (numbers[0] * width + numbers[1]).is_in(pl.Series(sorted(wanted), dtype=pl.Int64).implode())
    return _records(table, columns, meets, given)


def _columns(table: Table, given: Arguments) -> list[Column]:
    columns = [table.column(name) for name in given["column_list"]]
    for column in columns:
        column.need(column.is_scalar, "single values")
    return columns


@rule("expect_compound_columns_to_be_unique", _RECORD, mostly=True)
def _compound(table: Table, given: Arguments) -> Check:
    columns = _columns(table, given)
    considered = _considered(table, columns, given["ignore_row_if"])
    key = tuple(column.value for column in columns)
    # With the mark in the key, rows that do not count make no pair with those that do.
    marked = pl.struct([considered.alias("counts"), *(value.alias(str(n)) for n, value in enumerate(key))])
    return UniqueCheck(
        tuple(column.name for column in columns),
        considered & marked.is_duplicated(),
        table.row_count,
        _number_of(table, considered),
        given["mostly"],
        key=key,
        considered=considered,
    )


def _alike(left: Column, right: Column) -> pl.Expr:
    if _comparable(left, right):
        return left.value.eq_missing(right.value)
    return left.value.is_null() & right.value.is_null()


@rule("expect_select_column_values_to_be_unique_within_record", _RECORD, mostly=True)
def _unique_within(table: Table, given: Arguments) -> Check:
    columns = _columns(table, given)
    alike = [_alike(left, right) for left, right in combinations(columns, 2)]
    return _records(table, columns, ~pl.any_horizontal(alike) if alike else pl.lit(True), given)


@rule("expect_multicolumn_values_to_be_equal", _RECORD, mostly=True)
def _equal_within(table: Table, given: Arguments) -> Check:
    columns = _columns(table, given)
    alike = [_alike(columns[0], other) for other in columns[1:]]
    return _records(table, columns, pl.all_horizontal(alike) if alike else pl.lit(True), given)


@rule("expect_multicolumn_sum_to_equal", _RECORD | {"sum_total": required(accept.number)}, mostly=True)
def _sum_within(table: Table, given: Arguments) -> Check:
    columns = _columns(table, given)
    for column in columns:
        column.need(column.is_number, "numbers")
    # Sums of 64-bit numbers wrap around without a word.
    total = pl.sum_horizontal(
        (column.value.cast(pl.Int128) if column.dtype.is_integer() else column.value for column in columns), ignore_nulls=False
    )
    wanted = given["sum_total"]
    is_reachable = not any(column.dtype.is_float() for column in columns) or float(wanted) == wanted
    # As a float, a whole number beyond 2^53 would be rounded, and then be equal to a sum that it is not.
    equal = total == wanted if is_reachable else pl.when(total.is_not_null()).then(pl.lit(False))
    return _records(table, columns, equal, given)
