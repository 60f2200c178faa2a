"""Expectations about each value of a column. Missing values are left out, unless the rule is about them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from typing import Any

import jsonschema_rs
import polars as pl

from servers.ingestion.expectations import arguments as accept
from servers.ingestion.expectations.arguments import optional, required
from servers.ingestion.expectations.checks import Check, RowCheck, UniqueCheck, known
from servers.ingestion.expectations.column import Column, Table
from servers.ingestion.expectations.column_types import names_of, type_name
from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.limits import MAX_DATE_CHARACTERS
from servers.ingestion.expectations.literals import compared, is_in
from servers.ingestion.expectations.patterns import escape_character, like_pattern, like_patterns, regex, regex_of_like, regexes
from servers.ingestion.expectations.rule import bounds_contradict, rule
from servers.ingestion.expectations.times import each_distinct, time_of, times_of

Arguments = Mapping[str, Any]

_COLUMN = {"column": required(accept.text)}
_PARSE = {"parse_strings_as_datetimes": optional(accept.truth, False)}
_BOUNDS = {
    "min_value": optional(accept.bound),
    "max_value": optional(accept.bound),
    "strict_min": optional(accept.truth, False),
    "strict_max": optional(accept.truth, False),
}
_LENGTHS = _BOUNDS | {"min_value": optional(accept.count), "max_value": optional(accept.count)}


def _values(table: Table, column: Column, unexpected: pl.Expr, given: Arguments) -> RowCheck:
    return RowCheck((column.name,), unexpected, table.row_count, column.value.count(), given["mostly"])


def as_times(column: Column, given: Arguments) -> tuple[Column, pl.Expr]:
    """Return the column, its texts parsed where the arguments say so, and which values could not be."""
    if not given["parse_strings_as_datetimes"] or not column.is_text:
        return column, pl.lit(False)
    moments = times_of(column.value)
    return Column(column.name, pl.Datetime("us"), moments), column.value.is_not_null() & moments.is_null()


def outside(column: Column, given: Arguments) -> pl.Expr:
    """Return which values are not within `min_value` and `max_value`; null for missing ones."""
    low, high = given["min_value"], given["max_value"]
    within = []
    if low is not None:
        within.append(compared(column, ">" if given["strict_min"] else ">=", low))
    if high is not None:
        within.append(compared(column, "<" if given["strict_max"] else "<=", high))
    return ~reduce(lambda left, right: left & right, within)


@rule("expect_column_values_to_not_be_null", _COLUMN, mostly=True)
def _not_null(table: Table, given: Arguments) -> Check:
    value = table.column(given["column"]).value
    rows = table.row_count
    return RowCheck((given["column"],), table.within(value.is_null()), rows, rows, given["mostly"], has_missing=False)


@rule("expect_column_values_to_be_null", _COLUMN, mostly=True)
def _null(table: Table, given: Arguments) -> Check:
    value = table.column(given["column"]).value
    rows = table.row_count
    return RowCheck((given["column"],), value.is_not_null(), rows, rows, given["mostly"], has_missing=False)


@rule("expect_column_values_to_be_unique", _COLUMN, mostly=True)
def _unique(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar or column.dtype == pl.Binary, "values that are neither lists nor records")
    considered = column.value.is_not_null()
    return UniqueCheck(
        (column.name,),
        considered & column.value.is_duplicated(),
        table.row_count,
        column.value.count(),
        given["mostly"],
        key=(column.value,),
        considered=considered,
    )


def _set_rule(table: Table, given: Arguments, *, wanted: bool) -> Check:
    column = table.column(given["column"])
    column.need(column.is_scalar, "single values")
    column, unparseable = as_times(column, given)
    member = is_in(column, given["value_set"])
    return _values(table, table.column(given["column"]), unparseable | (~member if wanted else member), given)


_SET = _COLUMN | {"value_set": required(accept.value_set)} | _PARSE


@rule("expect_column_values_to_be_in_set", _SET, mostly=True)
def _in_set(table: Table, given: Arguments) -> Check:
    return _set_rule(table, given, wanted=True)


@rule("expect_column_values_to_not_be_in_set", _SET, mostly=True)
def _not_in_set(table: Table, given: Arguments) -> Check:
    return _set_rule(table, given, wanted=False)


@rule("expect_column_values_to_be_between", _COLUMN | _BOUNDS | _PARSE, mostly=True, contradiction=bounds_contradict)
def _between(table: Table, given: Arguments) -> Check:
    whole = table.column(given["column"])
    column, unparseable = as_times(whole, given)
    unexpected = outside(column, given)
    return _values(table, whole, unexpected if column is whole else unparseable | unexpected, given)


def _order_rule(table: Table, given: Arguments, *, falls: bool) -> Check:
    whole = table.column(given["column"])
    column, unparseable = as_times(whole, given)
    column.need(column.is_number or column.is_time or column.dtype == pl.Duration, "numbers, dates or times")
    before = column.value.forward_fill().shift(1)
    if given["strictly"]:
        wrong = column.value >= before if falls else column.value <= before
    else:
        wrong = column.value > before if falls else column.value < before
    return _values(table, whole, wrong if column is whole else unparseable | wrong, given)


_ORDER = _COLUMN | {"strictly": optional(accept.truth, False)} | _PARSE


@rule("expect_column_values_to_be_increasing", _ORDER, mostly=True)
def _increasing(table: Table, given: Arguments) -> Check:
    return _order_rule(table, given, falls=False)


@rule("expect_column_values_to_be_decreasing", _ORDER, mostly=True)
def _decreasing(table: Table, given: Arguments) -> Check:
    return _order_rule(table, given, falls=True)


@rule("expect_column_value_lengths_to_be_between", _COLUMN | _LENGTHS, mostly=True, contradiction=bounds_contradict)
def _lengths(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_text, "texts")
    return _values(table, column, outside(Column(column.name, pl.UInt32(), column.value.str.len_chars()), given), given)


@rule("expect_column_value_lengths_to_equal", _COLUMN | {"value": required(accept.count)}, mostly=True)
def _length(table: Table, given: Arguments) -> Check:
    column = table.column(given["column"])
    column.need(column.is_text, "texts")
    return _values(table, column, column.value.str.len_chars() != given["value"], given)


def _matches(table: Table, given: Arguments, patterns: list[str], *, every: bool, wanted: bool) -> Check:
    column = table.column(given["column"])
    column.need(column.is_text or column.dtype.is_integer(), "texts")
    written = column.value if column.is_text else column.value.cast(pl.String)
    found = [written.str.contains(pattern) for pattern in patterns]
    match = reduce(lambda left, right: left & right if every else left | right, found)
    return _values(table, column, ~match if wanted else match, given)


_MATCH_ON = {"match_on": optional(accept.choice("any", "all"), "any")}
_ESCAPE = {"escape": optional(escape_character)}


@rule("expect_column_values_to_match_regex", _COLUMN | {"regex": optional(regex, "(?s).*")}, mostly=True)
def _regex(table: Table, given: Arguments) -> Check:
    return _matches(table, given, [given["regex"]], every=True, wanted=True)


@rule("expect_column_values_to_not_match_regex", _COLUMN | {"regex": required(regex)}, mostly=True)
def _no_regex(table: Table, given: Arguments) -> Check:
    return _matches(table, given, [given["regex"]], every=False, wanted=False)


@rule("expect_column_values_to_match_regex_list", _COLUMN | {"regex_list": required(regexes)} | _MATCH_ON, mostly=True)
def _regex_list(table: Table, given: Arguments) -> Check:
    return _matches(table, given, given["regex_list"], every=given["match_on"] == "all", wanted=True)


@rule("expect_column_values_to_not_match_regex_list", _COLUMN | {"regex_list": required(regexes)}, mostly=True)
def _no_regex_list(table: Table, given: Arguments) -> Check:
    return _matches(table, given, given["regex_list"], every=False, wanted=False)


def _like(given: Arguments) -> list[str]:
    patterns = given["like_pattern_list"] if "like_pattern_list" in given else [given["like_pattern"]]
    return [regex_of_like(pattern, given["escape"]) for pattern in patterns]


_LIKE = _COLUMN | {"like_pattern": required(like_pattern)} | _ESCAPE
_LIKE_LIST = _COLUMN | {"like_pattern_list": required(like_patterns)} | _ESCAPE


@rule("expect_column_values_to_match_like_pattern", _LIKE, mostly=True)
def _like_pattern(table: Table, given: Arguments) -> Check:
    return _matches(table, given, _like(given), every=True, wanted=True)


@rule("expect_column_values_to_not_match_like_pattern", _LIKE, mostly=True)
def _no_like_pattern(table: Table, given: Arguments) -> Check:
    return _matches(table, given, _like(given), every=False, wanted=False)


@rule("expect_column_values_to_match_like_pattern_list", _LIKE_LIST | _MATCH_ON, mostly=True)
def _like_pattern_list(table: Table, given: Arguments) -> Check:
    return _matches(table, given, _like(given), every=given["match_on"] == "all", wanted=True)


@rule("expect_column_values_to_not_match_like_pattern_list", _LIKE_LIST, mostly=True)
def _no_like_pattern_list(table: Table, given: Arguments) -> Check:
    return _matches(table, given, _like(given), every=False, wanted=False)


def _type_rule(table: Table, given: Arguments) -> Check:
    if (dtype := table.schema.get(given["column"])) is None:
        table.column(given["column"])
        raise AssertionError
    names = [given["type_"]] if "type_" in given else given["type_list"]
    return known(names is None or not names_of(dtype).isdisjoint(names), str(dtype))


_TYPE = _COLUMN | {"type_": required(type_name)}
_TYPE_LIST = _COLUMN | {"type_list": optional(accept.listed(type_name, 100, least=1))}

rule("expect_column_values_to_be_of_type", _TYPE, mostly=True)(_type_rule)
rule("expect_column_values_to_be_in_type_list", _TYPE_LIST, mostly=True)(_type_rule)
rule("expect_column_type_to_be", _TYPE, condition=False)(_type_rule)


def _texts(table: Table, given: Arguments) -> Column:
    column = table.column(given["column"])
    return column.need(column.is_text, "texts")


@rule("expect_column_values_to_be_dateutil_parseable", _COLUMN, mostly=True)
def _dateutil(table: Table, given: Arguments) -> Check:
    column = _texts(table, given)
    return _values(table, column, each_distinct(column.value, lambda value: time_of(value) is None, pl.Boolean()), given)


def strftime_format(value: object) -> str:
    """Accept a format of `datetime.strptime`."""
    written = accept.text(value)
    if len(written) > MAX_DATE_CHARACTERS:
        raise ValueError(f"a format of at most {MAX_DATE_CHARACTERS} characters")
    try:
        datetime.strptime(datetime(2026, 1, 31).strftime(written), written)
    except (ValueError, re.error) as error:
        raise ValueError(f"a format of datetime.strptime; {error}") from None
    return written


@rule("expect_column_values_to_match_strftime_format", _COLUMN | {"strftime_format": required(strftime_format)}, mostly=True)
def _strftime(table: Table, given: Arguments) -> Check:
    written: str = given["strftime_format"]

    def is_other(value: str) -> bool:
        try:
            datetime.strptime(value, written)
        except ValueError:
            return True
        return False

    column = _texts(table, given)
    return _values(table, column, each_distinct(column.value, is_other, pl.Boolean()), given)


def _json_of(value: str) -> tuple[bool, Any]:
    try:
        return True, json.loads(value)
    except (ValueError, RecursionError):
        return False, None


@rule("expect_column_values_to_be_json_parseable", _COLUMN, mostly=True)
def _json(table: Table, given: Arguments) -> Check:
    column = _texts(table, given)
    return _values(table, column, each_distinct(column.value, lambda value: not _json_of(value)[0], pl.Boolean()), given)


def _validator(schema: Any) -> Any:
    # `offline` fetches no reference; these patterns run in linear time, as those of the suite do.
    return jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True)


def json_schema(value: object) -> object:
    """Accept a JSON Schema whose references stay within it."""
    if not isinstance(value, Mapping):
        raise ValueError("a JSON Schema")
    try:
        _validator(dict(value))
    except (jsonschema_rs.ValidationError, ValueError) as error:
        raise ValueError(f"a JSON Schema; {str(error).splitlines()[0]}") from None
    return dict(value)


@rule("expect_column_values_to_match_json_schema", _COLUMN | {"json_schema": required(json_schema)}, mostly=True)
def _json_schema(table: Table, given: Arguments) -> Check:
    validator = _validator(given["json_schema"])

    def is_other(value: str) -> bool:
        is_json, document = _json_of(value)
        return not is_json or not validator.is_valid(document)

    column = _texts(table, given)
    return _values(table, column, each_distinct(column.value, is_other, pl.Boolean()), given)


def _numbers(table: Table, given: Arguments) -> tuple[Column, pl.Expr]:
    column = table.column(given["column"])
    column.need(column.is_number, "numbers")
    return column, column.value.cast(pl.Float64)


@rule(
    "expect_column_value_z_scores_to_be_less_than",
    _COLUMN | {"threshold": required(accept.number), "double_sided": required(accept.truth)},
    mostly=True,
)
def _z_scores(table: Table, given: Arguments) -> Check:
    column, value = _numbers(table, given)
    # Without a deviation to measure by (a lone value, or equal ones) there is no score, and nothing is too far away.
    score, threshold = ((value - value.mean()) / value.std()).fill_nan(None), given["threshold"]
    if given["double_sided"]:
        score, threshold = score.abs(), abs(threshold)
    return _values(table, column, score >= threshold, given)


@rule(
    "expect_column_values_to_not_be_outliers",
    _COLUMN | {"method": optional(accept.choice("iqr", "std"), "iqr"), "multiplier": optional(accept.positive, 1.5)},
    mostly=True,
)
def _outliers(table: Table, given: Arguments) -> Check:
    column, value = _numbers(table, given)
    if given["method"] == "iqr":
        low, high = value.quantile(0.25, "linear"), value.quantile(0.75, "linear")
        reach = given["multiplier"] * (high - low)
        return _values(table, column, ~((value >= low - reach) & (value <= high + reach)), given)
    reach = given["multiplier"] * value.std()
    distance = (value - value.mean()).abs()
    return _values(table, column, pl.when(reach > 0).then(distance >= reach).otherwise(distance > 0) & reach.is_not_null(), given)


def must_parse(column: Column, unparseable: int) -> None:
    """Refuse to go on where texts were to be dates and are not.

    Raises:
        CannotRun: There are such texts.
    """
    if unparseable:
        raise CannotRun(Reason.VALUES_NOT_PARSEABLE, f"{unparseable} values of column {column.name!r} are no dates.")
