from __future__ import annotations

import dataclasses
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.ingestion.expectations import (
    Expectation,
    InvalidBatches,
    Reason,
    Severity,
    Status,
    Suite,
    rejected,
    report_to_json,
    validate,
)
from tests.unit.ingestion.expectations.tables import row_expectations, statistic_expectations, tables

suites = st.lists(row_expectations() | statistic_expectations(), max_size=8).map(lambda each: Suite("drawn", tuple(each)))
some = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def seen(value):
    """JSON as text: in it, NaN equals itself. Sums come in any order, so the last digits of a float may differ."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, dict):
        return str({key: seen(each) for key, each in value.items()})
    return str([seen(each) for each in value]) if isinstance(value, list) else str(value)


@given(tables, suites)
@some
def test_together_the_rules_say_what_each_says_alone(table, suite):
    together = report_to_json(validate(suite, table))["results"]

    alone = [report_to_json(validate(Suite("one", (expectation,)), table))["results"][0] for expectation in suite.expectations]

    assert seen(together) == seen(alone)


@given(tables, suites, st.lists(st.integers(0, 12), max_size=4), st.sampled_from([0, 1 << 30]))
@some
def test_batches_of_any_size_give_the_same_report(table, suite, cuts, memory_bytes):
    whole = table.to_arrow()
    places = sorted({0, len(table), *(min(cut, len(table)) for cut in cuts)})
    batches = [batch for low, high in pairwise(places) for batch in whole.slice(low, high - low).to_batches()]
    reader = pa.RecordBatchReader.from_batches(whole.schema, iter(batches))

    in_batches, at_once = (
        report_to_json(report) for report in (validate(suite, reader, memory_bytes=memory_bytes), validate(suite, table))
    )
    assert seen(in_batches) == seen(at_once)


def test_dictionaries_of_their_own_do_not_part_batches():
    batches = [pa.record_batch({"c": pa.array(values).dictionary_encode()}) for values in (["a", "b"], ["b", "c"])]
    suite = Suite("s", (Expectation("expect_column_values_to_be_in_set", {"column": "c", "value_set": ["a", "b"]}),))

    for memory_bytes in (0, 1 << 30):
        assert validate(suite, iter(batches), memory_bytes=memory_bytes).results[0].unexpected_count == 1


def test_batches_of_different_schemas_are_refused():
    with pytest.raises(InvalidBatches):
        validate(Suite("s"), iter([pa.record_batch({"c": [1]}), pa.record_batch({"c": ["a"]})]))


def test_no_batches_at_all_are_refused():
    with pytest.raises(InvalidBatches):
        validate(Suite("s"), iter([]))


def test_what_cannot_run_has_failed_and_says_why():
    table = pl.DataFrame({"number": [1], "text": ["a"], "list": [[1]], "date": ["soon"]})
    cases = [
        (Reason.COLUMN_NOT_FOUND, "expect_column_values_to_be_null", {"column": "numbr"}),
        (Reason.TYPE_NOT_SUPPORTED, "expect_column_mean_to_be_between", {"column": "text", "min_value": 0}),
        (Reason.TYPE_NOT_SUPPORTED, "expect_column_values_to_be_unique", {"column": "list"}),
        (Reason.TYPE_NOT_SUPPORTED, "expect_column_values_to_match_regex", {"column": "list", "regex": "a"}),
        (Reason.TYPE_NOT_SUPPORTED, "expect_column_pair_values_to_be_equal", {"column_A": "number", "column_B": "text"}),
        (Reason.BOUND_OF_ANOTHER_TYPE, "expect_column_values_to_be_between", {"column": "text", "min_value": 0}),
        (Reason.BOUND_OF_ANOTHER_TYPE, "expect_column_max_to_be_between", {"column": "number", "min_value": "a"}),
        (Reason.COLUMN_NOT_FOUND, "expect_table_row_count_to_equal", {"value": 1, "row_condition": 'col("gone") > 1'}),
        (
            Reason.VALUES_NOT_PARSEABLE,
            "expect_column_max_to_be_between",
            {"column": "date", "min_value": "2024-01-01", "parse_strings_as_datetimes": True},
        ),
    ]

    report = validate(Suite("s", tuple(Expectation(type_, kwargs) for _, type_, kwargs in cases)), table)

    assert [result.reason for result in report.results] == [reason for reason, _, _ in cases]
    assert report.status is Status.FAILED
    assert report.statistics.could_not_run == len(cases)
    assert "Did you mean 'number'?" in report.results[0].message


def test_a_rule_that_the_engine_gives_up_on_fails_alone(monkeypatch):
    from servers.ingestion.expectations import checks
    from servers.ingestion.expectations.rule import RULES

    rule = dataclasses.replace(
        RULES["expect_column_values_to_be_null"],
        compile=lambda table, given: checks.ColumnCheck((pl.col("x").str.to_integer(strict=True).sum(),), checks.Observation),
    )
    monkeypatch.setitem(RULES, rule.type, rule)
    suite = Suite("s", (Expectation(rule.type, {"column": "x"}), Expectation("expect_column_values_to_be_unique", {"column": "x"})))

    report = validate(suite, pl.DataFrame({"x": ["a", "b"]}))

    assert [result.reason for result in report.results] == [Reason.ENGINE_ERROR, None]
    assert report.results[1].success


def test_a_source_that_cannot_be_read_is_no_report(tmp_path):
    with pytest.raises(OSError, match="gone"):
        validate(Suite("s"), pl.scan_parquet(tmp_path / "gone.parquet"))


def test_the_worst_severity_decides():
    table = pl.DataFrame({"x": [1, None]})

    def status(severity, fail_at=Severity.CRITICAL):
        return validate(
            Suite("s", (Expectation("expect_column_values_to_not_be_null", {"column": "x"}, severity=severity),)), table, fail_at=fail_at
        ).status

    assert [status(severity) for severity in Severity] == [Status.PASSED, Status.WARNING, Status.FAILED]
    assert status(Severity.WARNING, Severity.WARNING) is Status.FAILED
    assert status(Severity.INFO, Severity.INFO) is Status.FAILED


def test_no_more_rows_are_told_than_asked_for():
    suite = Suite("s", (Expectation("expect_column_values_to_be_null", {"column": "x"}),))

    (result,) = validate(suite, pl.DataFrame({"x": range(100)}), unexpected_rows=3).results

    assert [row.row for row in result.unexpected_rows] == [0, 1, 2]
    assert result.unexpected_count == 100


def test_sums_do_not_wrap_around():
    table = pl.DataFrame({"x": [2**62, 2**62, 2**62], "y": [2**62, 2**62, 2**62]})
    suite = Suite(
        "s",
        (
            Expectation("expect_column_sum_to_be_between", {"column": "x", "min_value": 1}),
            Expectation("expect_multicolumn_sum_to_equal", {"column_list": ["x", "y"], "sum_total": 2**63}),
        ),
    )

    report = validate(suite, table)

    assert report.results[0].observed_value == 3 * 2**62
    assert report.success


def test_texts_are_taken_for_dates_where_the_suite_says_so():
    table = pl.DataFrame({"x": ["3 May 2021", "2024-01-31T00:00:00+01:00", "soon", None]})
    given_ = {"column": "x", "min_value": "2024-01-01", "parse_strings_as_datetimes": True}

    (result,) = validate(Suite("s", (Expectation("expect_column_values_to_be_between", given_),)), table).results

    assert [row.row for row in result.unexpected_rows] == [0, 2]


def test_rows_that_mostly_tolerates_are_kept_where_the_report_is_known():
    suite = Suite("s", (Expectation("expect_column_values_to_be_between", {"column": "x", "max_value": 2, "mostly": 0.5}),))
    table = pl.DataFrame({"x": [1, 2, 3]})

    assert rejected(suite, table, validate(suite, table)).mask.to_list() == [False] * 3
    assert rejected(suite, table).reasons.to_dicts() == [
        {"row": 2, "column": "x", "value": "3", "rule": "expect_column_values_to_be_between", "severity": "critical"}
    ]


def test_only_critical_rules_reject_rows():
    suite = Suite("s", (Expectation("expect_column_values_to_be_null", {"column": "x"}, severity=Severity.WARNING),))

    assert not rejected(suite, pl.DataFrame({"x": [1]})).mask.any()


def test_a_column_may_have_any_name():
    table = pl.DataFrame({"row": [1, None], "rows": [2, 2], "0": [1, 1], "key 0": [3, 3]})
    suite = Suite("s", tuple(Expectation("expect_column_values_to_be_unique", {"column": name}) for name in table.columns))

    assert [result.unexpected_count for result in validate(suite, table).results] == [0, 2, 2, 2]


def test_the_report_is_a_validation_result_of_gx():
    suite = Suite("s", (Expectation("expect_column_values_to_be_between", {"column": "x", "max_value": 2}, severity="warning"),))

    report = report_to_json(validate(suite, pl.DataFrame({"x": [1.0, 3.0, None, float("inf")]})))

    (result,) = report["results"]
    assert result["result"] == {
        "element_count": 4, "unexpected_count": 2, "unexpected_percent": 2 / 3 * 100, "partial_unexpected_list": [3.0, "inf"],
        "partial_unexpected_index_list": [1, 3], "missing_count": 1, "missing_percent": 25.0, "unexpected_percent_total": 50.0,
        "unexpected_percent_nonmissing": 2 / 3 * 100,
    }  # fmt: skip
    assert report["statistics"] == {
        "evaluated_expectations": 1, "successful_expectations": 0, "unsuccessful_expectations": 1, "success_percent": 0.0,
    }  # fmt: skip
    assert report["meta"]["mlmesh"]["status"] == "WARNING"


def test_rows_keep_their_numbers_and_neighbours_in_tables_of_many_morsels():
    rows = 300_000
    table = pl.DataFrame({"n": range(rows)}).with_columns(
        key=pl.when(pl.col("n") == rows - 5).then(7).otherwise(pl.col("n")),
        text=pl.col("n").cast(pl.String),
        up=pl.when(pl.col("n") % 100_000 == 0).then(None).when(pl.col("n") == 200_001).then(0).otherwise(pl.col("n")),
    )
    cases = [
        ("expect_column_values_to_be_unique", {"column": "key"}, [7, rows - 5]),
        ("expect_column_values_to_be_increasing", {"column": "up"}, [200_001]),
        ("expect_column_values_to_be_between", {"column": "n", "max_value": rows - 3}, [rows - 2, rows - 1]),
        ("expect_column_values_to_not_match_regex", {"column": "text", "regex": "^29999[89]$"}, [299_998, 299_999]),
        ("expect_compound_columns_to_be_unique", {"column_list": ["key", "text"]}, []),
    ]

    report = validate(Suite("s", tuple(Expectation(type_, kwargs) for type_, kwargs, _ in cases)), table)

    assert [[row.row for row in result.unexpected_rows] for result in report.results] == [expected for _, _, expected in cases]


@pytest.mark.parametrize("column", ["whole", "real"])
@pytest.mark.parametrize(
    ("bounds", "unexpected"),
    [
        ({"min_value": 0.5}, [0]),
        ({"min_value": 0.5, "strict_min": True}, [0]),
        ({"max_value": 1.5}, [2]),
        ({"max_value": 1.5, "strict_max": True}, [2]),
        ({"min_value": 1.0, "strict_min": True}, [0, 1]),
    ],
)
def test_whole_numbers_are_compared_with_fractions(column, bounds, unexpected):
    table = pl.DataFrame({"whole": [0, 1, 2], "real": [0.0, 1.0, 2.0]})

    (result,) = validate(Suite("s", (Expectation("expect_column_values_to_be_between", {"column": column} | bounds),)), table).results

    assert [row.row for row in result.unexpected_rows] == unexpected


def test_whole_numbers_beyond_the_precision_of_floats_are_compared_exactly():
    table = pl.DataFrame({"x": [2**53, 2**53 + 1]})

    (result,) = validate(
        Suite("s", (Expectation("expect_column_values_to_be_between", {"column": "x", "max_value": 2.0**53}),)), table
    ).results

    assert [row.row for row in result.unexpected_rows] == [1]
