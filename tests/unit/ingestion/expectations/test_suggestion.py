from __future__ import annotations

import json

import polars as pl
from hypothesis import HealthCheck, given, settings

from servers.ingestion.expectations import suggest, suite_from_json, suite_to_json, validate
from tests.unit.ingestion.expectations.tables import tables


@given(tables)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_data_pass_what_they_suggest(table):
    suite = suggest(table, unique_rows=3)

    report = validate(suite_from_json(json.dumps(suite_to_json(suite))), table)

    assert report.success, [result for result in report.results if not result.success]


def test_keys_sets_and_ranges_are_found():
    table = pl.DataFrame(
        {"id": range(200), "state": ["on", "off"] * 100, "price": [float(n % 7) for n in range(200)], "nested": [[1]] * 200}
    )

    suggested = {(each.type.removeprefix("expect_column_"), each.columns): each.kwargs for each in suggest(table).expectations}

    assert ("values_to_be_unique", ("id",)) in suggested
    assert suggested["values_to_be_in_set", ("state",)]["value_set"] == ["off", "on"]
    assert suggested["values_to_be_between", ("price",)] | {"column": ""} == {"column": "", "min_value": 0.0, "max_value": 6.6}
    assert ("values_to_not_be_null", ("nested",)) in suggested


def test_large_numbers_stay_within_what_a_suite_can_say():
    table = pl.DataFrame({"x": [-(2**63), 2**63 - 1], "y": [1.7e308, -1.7e308]})

    assert validate(suggest(table), table).success
