from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.ingestion.expectations import (
    Expectation,
    InvalidExpectation,
    InvalidRowCondition,
    InvalidSuite,
    Severity,
    Suite,
    SuiteTooLarge,
    UnknownExpectation,
    expectation_types,
    suite_from_json,
    suite_to_json,
)
from tests.unit.ingestion.expectations.tables import row_expectations, statistic_expectations

BETWEEN = "expect_column_values_to_be_between"
MATCH = "expect_column_values_to_match_regex"
DIVERGENCE = "expect_column_kl_divergence_to_be_less_than"


@given(st.lists(row_expectations() | statistic_expectations(), max_size=5), st.sampled_from(Severity), st.none() | st.text(max_size=5))
@settings(deadline=None)
def test_a_suite_survives_its_json(expectations, severity, notes):
    expectations = [Expectation(each.type, each.kwargs, {"k": [1]}, severity, "id", notes) for each in expectations]
    suite = Suite("drawn", tuple(expectations), {"great_expectations_version": "1.24.1"}, "id", notes)

    assert suite_from_json(json.dumps(suite_to_json(suite))) == suite


def test_the_older_form_is_read():
    suite = suite_from_json(
        {
            "expectation_suite_name": "old",
            "data_asset_type": None,
            "expectations": [
                {
                    "expectation_type": "expect_column_pair_values_A_to_be_greater_than_B",
                    "kwargs": {"column_A": "a", "column_B": "b", "result_format": "BASIC"},
                    "meta": {},
                }
            ],
            "ge_cloud_id": "x",
        }
    )

    assert suite == Suite(
        "old", (Expectation("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "a", "column_B": "b"}),), id="x"
    )


def test_python_values_become_the_json_of_gx():
    expectation = Expectation(BETWEEN, {"column": "x", "min_value": date(2024, 1, 31), "max_value": None})
    assert expectation.kwargs == {"column": "x", "min_value": "2024-01-31"}
    assert Expectation("expect_column_values_to_be_in_set", {"column": "x", "value_set": {3, 1}}).kwargs["value_set"] == [1, 3]


def test_the_vocabulary_has_the_forty_most_used():
    assert len(expectation_types()) >= 50


@pytest.mark.parametrize(
    ("type_", "kwargs", "error", "words"),
    [
        ("expect_column_values_to_be_betwen", {}, UnknownExpectation, "Did you mean expect_column_values_to_be_between"),
        ("unexpected_rows_expectation", {}, UnknownExpectation, "it runs SQL"),
        (None, {}, UnknownExpectation, "no expectation"),
        (BETWEEN, {"min_value": 1}, InvalidExpectation, "needs the argument 'column'"),
        (BETWEEN, {"column": "x", "min_valeu": 1}, InvalidExpectation, "did you mean min_value"),
        (BETWEEN, {"column": "x"}, InvalidExpectation, "cannot both be missing"),
        (BETWEEN, {"column": "x", "min_value": 2, "max_value": 1}, InvalidExpectation, "above max_value"),
        (BETWEEN, {"column": "x", "min_value": 2, "max_value": "3"}, InvalidExpectation, "different types"),
        (BETWEEN, {"column": 3, "min_value": 2}, InvalidExpectation, "column has to be a text"),
        (BETWEEN, {"column": "x", "min_value": True}, InvalidExpectation, "a number, a text or a date"),
        (BETWEEN, {"column": "x", "min_value": float("nan")}, InvalidExpectation, "finite"),
        (BETWEEN, {"column": "x", "min_value": 1, "mostly": 1.5}, InvalidExpectation, "from 0 to 1"),
        (BETWEEN, {"column": "x", "min_value": {"$PARAMETER": "low"}}, InvalidExpectation, "suite parameter"),
        (MATCH, {"column": "x", "regex": "(?=a)"}, InvalidExpectation, "look-around"),
        (MATCH, {"column": "x", "regex": r"(a)\1"}, InvalidExpectation, "backreferences"),
        (MATCH, {"column": "x", "regex": "a" * 5_000}, InvalidExpectation, "at most 4096 characters"),
        (MATCH, {"column": "x", "regex": "((a{100}){100}){100}"}, InvalidExpectation, "linear-time"),
        ("expect_column_values_to_be_in_set", {"column": "x", "value_set": "abc"}, InvalidExpectation, "a list"),
        ("expect_column_values_to_be_in_set", {"column": "x", "value_set": [0] * 10_001}, InvalidExpectation, "10000 entries"),
        ("expect_column_values_to_be_in_set", {"column": "x", "value_set": [[1]]}, InvalidExpectation, "value_set has to be"),
        ("expect_column_values_to_be_of_type", {"column": "x", "type_": "int46"}, InvalidExpectation, "did you mean int64"),
        ("expect_column_values_to_match_json_schema", {"column": "x", "json_schema": {"type": 3}}, InvalidExpectation, "JSON Schema"),
        (
            "expect_column_values_to_match_json_schema",
            {"column": "x", "json_schema": {"$ref": "http://localhost:1/schema.json"}},
            InvalidExpectation,
            "JSON Schema",
        ),
        (DIVERGENCE, {"column": "x", "threshold": 1}, InvalidExpectation, "partition_object"),
        (
            DIVERGENCE,
            {"column": "x", "threshold": 1, "partition_object": {"values": [1], "weights": [0.5]}},
            InvalidExpectation,
            "add up to 1",
        ),
        ("expect_table_row_count_to_equal", {"value": 1, "row_condition": "__import__('os')"}, InvalidRowCondition, "is none"),
        ("expect_table_row_count_to_equal", {"value": 1, "row_condition": "(" * 3_000}, InvalidRowCondition, "a condition such as"),
        ("expect_column_values_to_match_strftime_format", {"column": "x", "strftime_format": "%d%d"}, InvalidExpectation, "strptime"),
        ("expect_table_row_count_to_equal", {"value": 1, "condition_parser": "spark"}, InvalidExpectation, "one of"),
    ],
)
def test_what_is_wrong_is_refused_by_name(type_, kwargs, error, words):
    with pytest.raises(error, match=words):
        Expectation(type_, kwargs)


@pytest.mark.parametrize("document", ["{", "[]", "{}", {"name": "x"}, {"name": 1, "expectations": []}, {"name": "x", "expectations": [1]}])
def test_what_is_no_suite_is_refused(document):
    with pytest.raises(InvalidSuite):
        suite_from_json(document)


def test_a_refusal_names_the_place_in_the_suite():
    good = {"type": BETWEEN, "kwargs": {"column": "x", "min_value": 1}}

    with pytest.raises(InvalidExpectation, match="Expectation 1 of the suite") as refusal:
        suite_from_json({"name": "x", "expectations": [good, {"type": BETWEEN, "kwargs": {"column": "x", "min": 1}}]})

    assert refusal.value.field_violations == (("expectations[1].kwargs.min", "unknown"),)


def test_suites_have_an_end():
    with pytest.raises(SuiteTooLarge):
        suite_from_json({"name": "x", "expectations": [{}] * 2_001})
    with pytest.raises(SuiteTooLarge):
        suite_from_json(b" " * ((4 << 20) + 1))


def test_an_unknown_severity_is_refused():
    with pytest.raises(InvalidExpectation, match="severity"):
        suite_from_json({"name": "x", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "x"}, "severity": "bad"}]})
