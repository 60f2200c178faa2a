"""The rules once more, row by row in plain Python, as slowly and obviously as can be."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from itertools import pairwise
from typing import Any

from dateutil import parser

Row = Mapping[str, Any]


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def like(bound: Any, value: Any) -> Any:
    """A bound as something that compares with the value."""
    if isinstance(value, date) and isinstance(bound, str):
        return parser.parse(bound)
    return bound


def moment(value: Any) -> Any:
    return datetime.combine(value, time()) if isinstance(value, date) and not isinstance(value, datetime) else value


def within(value: Any, given: Row) -> bool:
    value, low, high = moment(value), given.get("min_value"), given.get("max_value")
    if low is not None and (value < like(low, value) or (given.get("strict_min") and value == like(low, value))):
        return False
    return high is None or not (value > like(high, value) or (given.get("strict_max") and value == like(high, value)))


def member(value: Any, values: list[Any]) -> bool:
    for other in values:
        if isinstance(value, bool) or isinstance(other, bool):
            if value is other:
                return True
        elif isinstance(value, date):
            if isinstance(other, str) and parser.parse(other) == moment(value):
                return True
        elif isinstance(value, str) == isinstance(other, str) and value == other:
            return True
    return False


def text(value: Any) -> str:
    return str(value)


def is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def is_date(value: str) -> bool:
    try:
        parser.parse(value)
    except (ValueError, OverflowError):
        return False
    return True


def has_format(value: str, written: str) -> bool:
    try:
        datetime.strptime(value, written)
    except ValueError:
        return False
    return True


def matches_like(value: str, pattern: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "%":
        return any(matches_like(value[n:], pattern[1:]) for n in range(len(value) + 1))
    return bool(value) and pattern[0] in ("_", value[0]) and matches_like(value[1:], pattern[1:])


VALUE_RULES: dict[str, Callable[[Any, Row], bool]] = {
    "values_to_be_between": within,
    "values_to_be_in_set": lambda value, given: member(value, given["value_set"]),
    "values_to_not_be_in_set": lambda value, given: not member(value, given["value_set"]),
    "value_lengths_to_be_between": lambda value, given: within(len(value), given),
    "value_lengths_to_equal": lambda value, given: len(value) == given["value"],
    "values_to_match_regex": lambda value, given: bool(re.search(given["regex"], text(value))),
    "values_to_not_match_regex": lambda value, given: not re.search(given["regex"], text(value)),
    "values_to_match_regex_list": lambda value, given: (all if given.get("match_on") == "all" else any)(
        re.search(pattern, text(value)) for pattern in given["regex_list"]
    ),
    "values_to_not_match_regex_list": lambda value, given: not any(re.search(pattern, text(value)) for pattern in given["regex_list"]),
    "values_to_match_like_pattern": lambda value, given: matches_like(value, given["like_pattern"]),
    "values_to_not_match_like_pattern": lambda value, given: not matches_like(value, given["like_pattern"]),
    "values_to_match_like_pattern_list": lambda value, given: (all if given.get("match_on") == "all" else any)(
        matches_like(value, pattern) for pattern in given["like_pattern_list"]
    ),
    "values_to_not_match_like_pattern_list": lambda value, given: not any(matches_like(value, p) for p in given["like_pattern_list"]),
    "values_to_be_json_parseable": lambda value, given: is_json(value),
    "values_to_be_dateutil_parseable": lambda value, given: is_date(value),
    "values_to_match_strftime_format": lambda value, given: has_format(value, given["strftime_format"]),
}


def selected(rows: list[Row], given: Row) -> list[int]:
    """Rows that a condition of one comparison with a whole number leaves."""
    if (condition := given.get("row_condition")) is None:
        return list(range(len(rows)))
    column, operator, literal = condition["column"]["name"], condition["operator"], condition["parameter"]
    compare: dict[str, Callable[[Any], bool]] = {
        ">=": lambda value: value >= literal, "<": lambda value: value < literal,
        "==": lambda value: value == literal, "!=": lambda value: value != literal,
    }  # fmt: skip
    return [n for n, row in enumerate(rows) if not missing(row[column]) and compare[operator](row[column])]


def judged(rule: str, rows: list[Row], given: Row) -> tuple[list[int], list[int], list[int]]:
    """Rows looked at, those that count, and those that break the rule."""
    looked = selected(rows, given)
    if rule in ("values_to_not_be_null", "values_to_be_null"):
        return looked, looked, [n for n in looked if missing(rows[n][given["column"]]) == (rule == "values_to_not_be_null")]
    if "column" in given:
        counted = [n for n in looked if not missing(rows[n][given["column"]])]
        values = {n: rows[n][given["column"]] for n in counted}
        if rule == "values_to_be_unique":
            times = Counter(values.values())
            return looked, counted, [n for n in counted if times[values[n]] > 1]
        if rule in ("values_to_be_increasing", "values_to_be_decreasing"):
            up = rule.endswith("increasing")
            wrong = []
            for before, after in pairwise(counted):
                low, high = (values[before], values[after]) if up else (values[after], values[before])
                if not (low < high if given.get("strictly") else low <= high):
                    wrong.append(after)
            return looked, counted, wrong
        return looked, counted, [n for n in counted if not VALUE_RULES[rule](values[n], given)]
    columns = given.get("column_list") or [given["column_A"], given["column_B"]]
    records = {n: [None if missing(rows[n][column]) else rows[n][column] for column in columns] for n in looked}
    ignored = given.get("ignore_row_if", "all_values_are_missing")
    if ignored in ("both_values_are_missing", "all_values_are_missing"):
        counted = [n for n in looked if any(value is not None for value in records[n])]
    elif ignored in ("either_value_is_missing", "any_value_is_missing"):
        counted = [n for n in looked if all(value is not None for value in records[n])]
    else:
        counted = looked
    if rule == "compound_columns_to_be_unique":
        times = Counter(tuple(records[n]) for n in counted)
        return looked, counted, [n for n in counted if times[tuple(records[n])] > 1]
    return looked, counted, [n for n in counted if not record_meets(rule, records[n], given)]


def record_meets(rule: str, values: list[Any], given: Row) -> bool:
    if rule == "select_column_values_to_be_unique_within_record":
        return len(set(values)) == len(values)
    if rule == "multicolumn_values_to_be_equal":
        return len(set(values)) == 1
    if rule == "column_pair_values_to_be_in_set":
        return any(tuple(values) == tuple(pair) for pair in given["value_pairs_set"])
    if None in values:
        return False
    if rule == "multicolumn_sum_to_equal":
        return sum(values) == given["sum_total"]
    left, right = values
    if rule == "column_pair_values_to_be_equal":
        return left == right
    return left > right or (bool(given.get("or_equal")) and left == right)


def statistic(rule: str, values: list[Any], rows: int) -> Any:
    """The statistic of a column's values that are not missing; None where there is none."""
    if rule == "column_proportion_of_non_null_values":
        return len(values) / rows if rows else 0
    if rule == "column_unique_value_count":
        return len(set(values))
    if rule == "column_proportion_of_unique_values":
        return len(set(values)) / len(values) if values else 0
    if rule == "column_sum":
        return sum(values)
    if not values or (rule == "column_stdev" and len(values) < 2):
        return None
    functions: dict[str, Callable[[list[Any]], Any]] = {
        "column_min": min, "column_max": max,
        "column_mean": statistics.fmean, "column_median": statistics.median, "column_stdev": statistics.stdev,
    }  # fmt: skip
    return functions[rule](values)
