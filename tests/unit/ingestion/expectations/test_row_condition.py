from __future__ import annotations

import polars as pl
import pytest

from servers.ingestion.expectations import Expectation, InvalidRowCondition, Suite, validate

TABLE = pl.DataFrame(
    {"age": [17, 18, None, 40], "name": ["a", None, "c", "d"], "day": ["2024-01-01", "2024-02-01", None, "2025-01-01"]}
).with_columns(pl.col("day").str.to_date())


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ('col("age") >= 18', 2),
        ("age >= 18 and name == 'd'", 1),
        ("(age < 18) | (age > 30)", 2),
        ("not age < 18", 2),
        ("~(age < 18)", 2),
        ("age != 18", 2),
        ("name.isnull()", 1),
        ('col("name").notnull() and age > -1', 2),
        ("name in ['a', 'd', 'x']", 2),
        ("name not in ['a']", 2),
        ('col("day") < date("2024-06-01")', 2),
        ({"type": "nullity", "column": {"name": "age"}, "is_null": True}, 1),
        ({"type": "comparison", "column": {"name": "age"}, "operator": "NOT_IN", "parameter": [17, 18]}, 1),
        (
            {
                "type": "or",
                "conditions": [
                    {"type": "comparison", "column": {"name": "age"}, "operator": "==", "parameter": 17},
                    {"type": "comparison", "column": {"name": "name"}, "operator": "==", "parameter": "d"},
                ],
            },
            2,
        ),
    ],
)
def test_a_condition_says_which_rows_are_looked_at(condition, rows):
    suite = Suite("s", (Expectation("expect_table_row_count_to_equal", {"value": rows, "row_condition": condition}),))

    assert validate(suite, TABLE).results[0].observed_value == rows


@pytest.mark.parametrize(
    "condition",
    [
        "age > name", "age + 1 > 3", "1 < age < 3", "f(age) > 1", "age.mean() > 1", "`a b` > 1", "age > @x", "age", "18 < age", "a; b", "",
        "lambda: 1", "[x for x in y]", 3, {"type": "comparison"},
        {"type": "pass_through", "pass_through_filter": "x"}, {"type": "and", "conditions": []}, {"type": "and", "conditions": ["a > 1"]},
        " and ".join(["a > 1"] * 101),
    ],
)  # fmt: skip
def test_what_is_outside_the_subset_is_refused(condition):
    with pytest.raises(InvalidRowCondition):
        Expectation("expect_table_row_count_to_equal", {"value": 1, "row_condition": condition})
