from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from servers.ingestion.expectations import Expectation, Suite, validate
from tests.unit.ingestion.expectations.tables import tables


def observe(table, name, **kwargs):
    (result,) = validate(Suite("s", (Expectation(f"expect_{name}", kwargs),)), table).results
    return result


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]),
    st.sampled_from([False, "lower", "higher", "linear", "midpoint"]),
)
@settings(deadline=None)
def test_quantiles_are_those_of_numpy(values, quantile, how):
    ranges = {"quantiles": [quantile], "value_ranges": [[None, None]]}

    result = observe(
        pl.DataFrame({"x": [None, *values]}),
        "column_quantile_values_to_be_between",
        column="x",
        quantile_ranges=ranges,
        allow_relative_error=how,
    )

    assert result.observed_value["values"] == pytest.approx([np.quantile(values, quantile, method=how or "nearest")])


def test_quantiles_of_dates_and_of_nothing():
    ranges = {"quantiles": [0.5], "value_ranges": [["2024-01-01", "2024-12-31"]]}
    days = pl.DataFrame({"x": [date(2023, 1, 1), date(2024, 5, 1), date(2025, 1, 1)], "none": pl.Series([None] * 3, dtype=pl.Int64)})

    result = observe(days, "column_quantile_values_to_be_between", column="x", quantile_ranges=ranges)
    nothing = observe(
        days, "column_quantile_values_to_be_between", column="none", quantile_ranges={"quantiles": [0.5], "value_ranges": [[None, None]]}
    )

    assert result.success
    assert result.observed_value["values"] == [datetime(2024, 5, 1)]
    assert not nothing.success


@given(tables, st.lists(st.integers(-2, 6), max_size=5, unique=True))
@settings(deadline=None)
def test_distinct_values_are_compared_as_sets(table, wanted):
    seen, expected = set(table["small"].drop_nulls().to_list()), set(wanted)

    def is_met(relation):
        return observe(table, f"column_distinct_values_to_{relation}", column="small", value_set=wanted).success

    assert [is_met("be_in_set"), is_met("contain_set"), is_met("equal_set")] == [seen <= expected, seen >= expected, seen == expected]


def test_a_set_of_values_that_the_column_cannot_hold_is_not_contained():
    result = observe(pl.DataFrame({"x": [1]}), "column_distinct_values_to_contain_set", column="x", value_set=[1, "a"])

    assert not result.success
    assert result.details["missing_count"] == 1


@pytest.mark.parametrize(
    ("values", "ties", "is_met"),
    [([1, 1, 2], None, True), ([1, 2], None, False), ([1, 2], True, True), ([3], None, False), ([], True, False)],
)
def test_the_most_common_value_may_have_to_be_alone(values, ties, is_met):
    table = pl.DataFrame({"x": pl.Series([*values, None, None, None], dtype=pl.Int64)})

    assert observe(table, "column_most_common_value_to_be_in_set", column="x", value_set=[1], ties_okay=ties).success is is_met


@given(st.lists(st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 2.5]), min_size=1, max_size=30))
@settings(deadline=None)
def test_divergence_over_bins_is_that_of_scipy(values):
    partition = {"bins": [-1, 0, 1, 2], "weights": [0.3, 0.3, 0.4]}
    histogram, _ = np.histogram(values, [-1, 0, 1, 2])
    outside = [sum(v < -1 for v in values), sum(v > 2 for v in values)]
    expected = stats.entropy([outside[0], *histogram, outside[1]], [0.05, *(w * 0.9 for w in partition["weights"]), 0.05])

    result = observe(
        pl.DataFrame({"x": values}), "column_kl_divergence_to_be_less_than",
        column="x", partition_object=partition, threshold=0.5, tail_weight_holdout=0.1,
    )  # fmt: skip

    assert result.observed_value == pytest.approx(expected)
    assert result.success == (expected <= 0.5)


def test_divergence_without_values_cannot_be_had():
    partition = {"values": ["a"], "weights": [1.0]}
    table = pl.DataFrame({"x": pl.Series([None], dtype=pl.String)})

    assert observe(table, "column_kl_divergence_to_be_less_than", column="x", partition_object=partition, threshold=9).reason is not None


@given(st.lists(st.none() | st.sampled_from([0.0, 1.0, 2.0, 50.0, float("nan")]), max_size=20), st.booleans())
@settings(deadline=None)
def test_scores_count_standard_deviations(values, double_sided):
    present = [value for value in values if value is not None and value == value]
    spread = np.std(present, ddof=1) if len(set(present)) > 1 else None
    far = [(v - np.mean(present)) / spread for v in present] if spread else []
    expected = sum((abs(z) if double_sided else z) >= 1.2 for z in far)

    result = observe(
        pl.DataFrame({"x": values}, schema={"x": pl.Float64}), "column_value_z_scores_to_be_less_than",
        column="x", threshold=1.2, double_sided=double_sided,
    )  # fmt: skip

    assert result.unexpected_count == expected


@pytest.mark.parametrize(("method", "unexpected"), [("iqr", [100.0]), ("std", [100.0])])
def test_outliers_are_far_from_the_rest(method, unexpected):
    result = observe(
        pl.DataFrame({"x": [1.0, 2, 3, 4, 5, 100, None]}), "column_values_to_not_be_outliers", column="x", method=method, multiplier=1.5
    )

    assert [row.value for row in result.unexpected_rows] == unexpected


@pytest.mark.parametrize("name", ["int64", "Int64", "LongType", "BIGINT", "int"])
def test_types_go_by_many_names(name):
    assert observe(pl.DataFrame({"x": [1]}), "column_values_to_be_of_type", column="x", type_=name).success
    assert observe(pl.DataFrame({"x": [1]}), "column_values_to_be_in_type_list", column="x", type_list=["str", name]).success
    assert not observe(pl.DataFrame({"x": ["1"]}), "column_type_to_be", column="x", type_=name).success


def test_documents_are_checked_against_a_schema():
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    table = pl.DataFrame({"x": ['{"a": 1}', '{"a": "1"}', "{", None]})

    result = observe(table, "column_values_to_match_json_schema", column="x", json_schema=schema)

    assert [row.row for row in result.unexpected_rows] == [1, 2]


def test_the_columns_of_a_table_are_compared_by_name_number_and_order():
    table = pl.DataFrame({"a": [1], "b": [2]})

    def is_met(name, **kwargs):
        return observe(table, name, **kwargs).success

    assert is_met("column_to_exist", column="b", column_index=1)
    assert not is_met("column_to_exist", column="b", column_index=0)
    assert is_met("table_columns_to_match_ordered_list", column_list=["a", "b"])
    assert not is_met("table_columns_to_match_ordered_list", column_list=["b", "a"])
    assert is_met("table_columns_to_match_set", column_set=["b", "a"])
    assert not is_met("table_columns_to_match_set", column_set=["b"])
    assert is_met("table_columns_to_match_set", column_set=["b"], exact_match=False)
    assert is_met("table_column_count_to_equal", value=2)
    assert not is_met("table_column_count_to_be_between", min_value=3)
    assert is_met("table_row_count_to_be_between", min_value=1)
    assert not is_met("table_row_count_to_be_between", min_value=1, strict_min=True)


def test_empty_tables_have_statistics_only_where_these_exist():
    table = pl.DataFrame(schema={"x": pl.Float64})

    assert observe(table, "column_sum_to_be_between", column="x", min_value=0).success
    assert observe(table, "column_values_to_be_between", column="x", min_value=0).success
    assert not observe(table, "column_mean_to_be_between", column="x", min_value=0).success
    assert observe(table, "compound_columns_to_be_unique", column_list=["x"], ignore_row_if="never").success
