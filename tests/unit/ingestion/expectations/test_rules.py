from __future__ import annotations

import math

import polars as pl
from hypothesis import HealthCheck, given, settings

from servers.ingestion.expectations import Expectation, Suite, validate
from servers.ingestion.expectations.rejection import rejected
from tests.unit.ingestion.expectations import naive
from tests.unit.ingestion.expectations.tables import row_expectations, statistic_expectations, tables

many = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def rule_of(expectation):
    name = expectation.type.removeprefix("expect_")
    return name if name.startswith(("column_pair", "compound")) else name.removeprefix("column_")


@given(tables, row_expectations())
@many
def test_rows_are_judged_as_one_by_one_in_plain_python(table, expectation):
    rows = table.to_dicts()
    looked, counted, unexpected = naive.judged(rule_of(expectation), rows, expectation.arguments)

    (result,) = validate(Suite("one", (expectation,)), table, unexpected_rows=100).results

    assert result.reason is None, result.message
    assert (result.element_count, result.unexpected_count) == (len(looked), len(unexpected))
    assert [row.row for row in result.unexpected_rows] == unexpected
    assert result.success == (not counted or (len(counted) - len(unexpected)) / len(counted) >= expectation.mostly)
    if result.missing_count is not None:
        assert result.missing_count == len(looked) - len(counted)
    for row in result.unexpected_rows:
        shown = row.value if len(expectation.columns) > 1 else {expectation.columns[0]: row.value}
        assert {name: str(value) for name, value in shown.items()} == {name: str(rows[row.row][name]) for name in shown}


def test_a_sum_that_no_float_can_be_is_never_reached():
    table = pl.DataFrame({"a": [2**53, 2**53], "b": [0.0, 1.0]})
    for total, unexpected in ((2**53 + 1, 2), (2**53, 0)):
        expectation = Expectation("expect_multicolumn_sum_to_equal", {"column_list": ["a", "b"], "sum_total": total})
        assert validate(Suite("one", (expectation,)), table).results[0].unexpected_count == unexpected


@given(tables, row_expectations())
@many
def test_rejected_are_the_rows_that_break_the_rule(table, expectation):
    _, _, unexpected = naive.judged(rule_of(expectation), table.to_dicts(), expectation.arguments)

    rejection = rejected(Suite("one", (expectation,)), table)

    assert rejection.mask.arg_true().to_list() == unexpected
    assert rejection.reasons["row"].to_list() == unexpected


@given(tables, statistic_expectations())
@many
def test_statistics_are_those_of_plain_python(table, expectation):
    rows, given_ = table.to_dicts(), expectation.arguments
    looked = naive.selected(rows, given_)
    values = [rows[n][given_["column"]] for n in looked if not naive.missing(rows[n][given_["column"]])]
    expected = naive.statistic(expectation.type.removeprefix("expect_").removesuffix("_to_be_between"), values, len(looked))

    (result,) = validate(Suite("one", (expectation,)), table).results

    assert result.reason is None, result.message
    if expected is None:
        assert result.observed_value is None
        assert not result.success
    else:
        observed = result.observed_value
        exact = observed == naive.moment(expected)
        assert exact or math.isclose(observed, expected, rel_tol=1e-9, abs_tol=1e-9)
        # A mean that is a bound up to its last digit may be on either side.
        if exact:
            assert result.success == naive.within(observed, given_)
