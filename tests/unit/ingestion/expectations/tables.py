"""Tables and expectations for Hypothesis: nulls, NaN, no rows at all, dates, texts."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from servers.ingestion.expectations import Expectation

SCHEMA = {
    "whole": pl.Int64, "small": pl.Int8, "real": pl.Float64, "second": pl.Float64, "word": pl.String, "other": pl.String,
    "day": pl.Date, "moment": pl.Datetime("us"), "flag": pl.Boolean,
}  # fmt: skip
WORDS = ["", "a", "ab", "abc", "%", "2024-01-31", "[1]", "é\n", "3"]

_days = st.dates(date(2023, 12, 30), date(2024, 1, 4))
_moments = st.builds(lambda day, hour: datetime(day.year, day.month, day.day, hour), _days, st.sampled_from([0, 5]))
_reals = st.sampled_from([-2.0, 0.0, 0.5, 1.0, 3.0, float("nan")])
_values: dict[str, SearchStrategy[Any]] = {
    "whole": st.integers(-2, 5) | st.sampled_from([2**53 + 1, -(2**62)]),
    "small": st.integers(-2, 5),
    "real": _reals,
    "second": _reals,
    "word": st.sampled_from(WORDS),
    "other": st.sampled_from(WORDS),
    "day": _days,
    "moment": _moments,
    "flag": st.booleans(),
}
records = st.fixed_dictionaries({name: st.none() | values for name, values in _values.items()})
tables = st.lists(records, max_size=12).map(lambda rows: pl.DataFrame(rows, schema=SCHEMA, orient="row"))

_NUMBERS, _TIMES, _TEXTS = ["whole", "small", "real"], ["day", "moment"], ["word", "other"]
_numbers = st.integers(-3, 6) | st.sampled_from([0.5, 2.5, -0.5, 300, 2**53 + 1])
_bounds = {
    "number": _numbers,
    "time": st.sampled_from(["2023-12-31", "2024-01-01", "2024-01-02T05:00:00", "2024-01-03 00:00"]),
    "text": st.sampled_from(["", "a", "ab", "b"]),
}
_mostly = st.sampled_from([0.0, 0.3, 0.5, 1.0])
_conditions = st.builds(
    lambda operator, literal: {"type": "comparison", "column": {"name": "small"}, "operator": operator, "parameter": literal},
    st.sampled_from([">=", "<", "==", "!="]),
    st.integers(-1, 3),
)


def _kind(column: str) -> str:
    return "number" if column in _NUMBERS else "time" if column in _TIMES else "text"


@st.composite
def _ranges(draw: st.DrawFn, kind: str, *, strict: bool = True) -> dict[str, Any]:
    low, high = sorted([draw(_bounds[kind]), draw(_bounds[kind])])
    given = {"min_value": low, "max_value": high}
    if gone := draw(st.sampled_from(["", "min_value", "max_value"])):
        del given[gone]
    return given | ({"strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())} if strict else {})


_sets = st.lists(st.none() | st.integers(-2, 4) | st.sampled_from([0.5, 1.0, "a", "ab", "2024-01-01", True, 300]), max_size=6)
_regexes = st.sampled_from(["a", "^a", "b$", r"\d", "^$", "[ab]+c?", "é"])
_likes = st.text("%_ab2", max_size=4)
_PAIR_IGNORED = ["both_values_are_missing", "either_value_is_missing", "neither"]
_RECORD_IGNORED = ["all_values_are_missing", "any_value_is_missing", "never"]


@st.composite
def row_expectations(draw: st.DrawFn) -> Expectation:
    """Expectations about rows."""
    rule = draw(st.sampled_from(ROW_RULES))
    given: dict[str, Any] = {"mostly": draw(_mostly)}
    if draw(st.booleans()):
        given["row_condition"] = draw(_conditions)
    if rule.startswith(("multicolumn", "select", "compound")):
        pool = (
            ["whole", "small", "real", "second"]
            if rule.startswith("multicolumn_sum")
            else draw(st.sampled_from([["real", "second", "small"], _TEXTS]))
        )
        columns = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=3, unique=True))
        given |= {"column_list": columns, "ignore_row_if": draw(st.sampled_from(_RECORD_IGNORED))}
        return Expectation(f"expect_{rule}", given | ({"sum_total": draw(_numbers)} if "sum" in rule else {}))
    if rule.startswith("column_pair"):
        left, right = draw(st.sampled_from([("real", "second"), ("whole", "small"), ("small", "real"), ("word", "other")]))
        given |= {"column_A": left, "column_B": right, "ignore_row_if": draw(st.sampled_from(_PAIR_IGNORED))}
        if rule.endswith("greater_than_b"):
            given["or_equal"] = draw(st.booleans())
        if rule.endswith("in_set"):
            pool = st.none() | (st.sampled_from(WORDS) if left == "word" else st.sampled_from([0, 1, 0.5, 3]))
            given["value_pairs_set"] = draw(st.lists(st.tuples(pool, pool), max_size=5))
        return Expectation(f"expect_{rule}", given)
    given |= draw(_arguments(rule))
    return Expectation(f"expect_column_{rule}", given)


@st.composite
def _arguments(draw: st.DrawFn, rule: str) -> dict[str, Any]:
    if rule.endswith(("null", "unique")):
        return {"column": draw(st.sampled_from(list(SCHEMA)))}
    if rule.endswith(("increasing", "decreasing")):
        return {"column": draw(st.sampled_from(_NUMBERS + _TIMES)), "strictly": draw(st.booleans())}
    if rule == "values_to_be_between":
        column = draw(st.sampled_from(_NUMBERS + _TIMES + _TEXTS))
        return {"column": column} | draw(_ranges(_kind(column)))
    if rule.endswith("in_set"):
        column = draw(st.sampled_from(list(SCHEMA)))
        values = draw(_sets)
        # The oracle reads every text as a date there.
        return {"column": column, "value_set": [v for v in values if v not in ("a", "ab")] if column in _TIMES else values}
    if rule.startswith("value_lengths"):
        if rule.endswith("equal"):
            return {"column": draw(st.sampled_from(_TEXTS)), "value": draw(st.integers(0, 4))}
        low = draw(st.integers(0, 3))
        return {
            "column": draw(st.sampled_from(_TEXTS)),
            "min_value": low,
            "max_value": low + draw(st.integers(0, 3)),
            "strict_max": draw(st.booleans()),
        }
    given: dict[str, Any] = {"column": draw(st.sampled_from(_TEXTS))}
    if rule.endswith("regex"):
        given = {"column": draw(st.sampled_from([*_TEXTS, "small"])), "regex": draw(_regexes)}
    elif rule.endswith("regex_list"):
        given["regex_list"] = draw(st.lists(_regexes, min_size=1, max_size=3))
    elif rule.endswith("like_pattern"):
        given["like_pattern"] = draw(_likes)
    elif rule.endswith("like_pattern_list"):
        given["like_pattern_list"] = draw(st.lists(_likes, min_size=1, max_size=3))
    elif rule.endswith("format"):
        given["strftime_format"] = draw(st.sampled_from(["%Y-%m-%d", "%d"]))
    if rule in ("values_to_match_regex_list", "values_to_match_like_pattern_list"):
        given["match_on"] = draw(st.sampled_from(["any", "all"]))
    return given


ROW_RULES = [
    "values_to_not_be_null", "values_to_be_null", "values_to_be_unique", "values_to_be_increasing", "values_to_be_decreasing",
    "values_to_be_between", "values_to_be_in_set", "values_to_not_be_in_set", "value_lengths_to_be_between", "value_lengths_to_equal",
    "values_to_match_regex", "values_to_not_match_regex", "values_to_match_regex_list", "values_to_not_match_regex_list",
    "values_to_match_like_pattern", "values_to_not_match_like_pattern", "values_to_match_like_pattern_list",
    "values_to_not_match_like_pattern_list", "values_to_be_json_parseable", "values_to_be_dateutil_parseable",
    "values_to_match_strftime_format", "compound_columns_to_be_unique", "select_column_values_to_be_unique_within_record",
    "multicolumn_values_to_be_equal", "multicolumn_sum_to_equal", "column_pair_values_to_be_equal",
    "column_pair_values_a_to_be_greater_than_b", "column_pair_values_to_be_in_set",
]  # fmt: skip

STATISTICS = [
    "column_min", "column_max", "column_mean", "column_median", "column_stdev", "column_sum", "column_unique_value_count",
    "column_proportion_of_unique_values", "column_proportion_of_non_null_values",
]  # fmt: skip


@st.composite
def statistic_expectations(draw: st.DrawFn) -> Expectation:
    """Expectations about a column's statistic."""
    rule = draw(st.sampled_from(STATISTICS))
    columns = _NUMBERS + (_TIMES + _TEXTS if rule in ("column_min", "column_max") else [])
    column = draw(st.sampled_from(columns))
    given = {"column": column, "strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}
    if "proportion" in rule:
        given |= {"min_value": draw(st.sampled_from([0, 0.5, 1]))}
    elif "count" in rule:
        given |= {"max_value": draw(st.integers(0, 5))}
    else:
        given |= draw(_ranges(_kind(column), strict=False))
    if draw(st.booleans()):
        given["row_condition"] = draw(_conditions)
    return Expectation(f"expect_{rule}_to_be_between", given)
