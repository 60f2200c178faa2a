"""A table with everything that data go wrong by, and expectations about it, met and not."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from servers.ingestion.expectations import Expectation

ROWS = 240
TYPES = {"int": pl.Int64, "float": pl.Float64, "text": pl.String, "truth": pl.Boolean, "time": pl.Datetime("us")}


def table() -> dict[str, dict[str, Any]]:
    """Columns as JSON: a type and values."""
    chance = random.Random(3)
    start = datetime(2024, 1, 1)

    def holes(values: list[Any], share: float = 0.1) -> list[Any]:
        return [None if chance.random() < share else value for value in values]

    texts = holes([chance.choice(["alpha", "beta", "Gamma", "d", "épsilon", "zeta 1", ""]) for _ in range(ROWS)])
    days = [start + timedelta(hours=chance.randrange(20_000)) for _ in range(ROWS)]
    return {
        "id": {"type": "int", "values": list(range(ROWS))},
        "few": {"type": "int", "values": [chance.randrange(6) for _ in range(ROWS)]},
        "many": {"type": "int", "values": [chance.randrange(ROWS * 2) for _ in range(ROWS)]},
        "price": {"type": "float", "values": [round(chance.gauss(50, 12), 2) for _ in range(ROWS)]},
        "gaps": {"type": "float", "values": holes([round(chance.uniform(-5, 5), 1) for _ in range(ROWS)], 0.3)},
        "twin": {"type": "float", "values": holes([float(chance.randrange(5)) for _ in range(ROWS)])},
        "other": {"type": "float", "values": holes([float(chance.randrange(5)) for _ in range(ROWS)])},
        "third": {"type": "float", "values": holes([float(chance.randrange(5)) for _ in range(ROWS)])},
        "nothing": {"type": "float", "values": [None] * ROWS},
        "constant": {"type": "float", "values": [4.0] * ROWS},
        "rising": {"type": "int", "values": [n // 2 for n in range(ROWS)]},
        "word": {"type": "text", "values": texts},
        "code": {"type": "text", "values": [f"AB-{chance.randrange(300):03d}" for _ in range(ROWS)]},
        "date_text": {
            "type": "text",
            "values": holes([chance.choice(["2024-02-03", "3 May 2021", "soon", "12:30", "2024-13-45"]) for _ in range(ROWS)]),
        },
        "document": {"type": "text", "values": holes([chance.choice(['{"a": 1}', "[1, 2]", "{a}", '"x"', "nul"]) for _ in range(ROWS)])},
        "object": {"type": "text", "values": holes([chance.choice(['{"a": 1}', '{"a": "x"}', "{}"]) for _ in range(ROWS)])},
        "flag": {"type": "truth", "values": [chance.random() < 0.5 for _ in range(ROWS)]},
        "day": {"type": "time", "values": [day.isoformat() for day in days]},
        "later": {"type": "time", "values": [(day + timedelta(hours=chance.randrange(-5, 40))).isoformat() for day in days]},
    }  # fmt: skip


def frame(columns: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """The same as a Polars frame; half of the missing floats are NaN, as Arrow from pandas has them."""
    made = {}
    for name, column in columns.items():
        values = column["values"]
        if column["type"] == "time":
            values = [datetime.fromisoformat(value) for value in values]
        if column["type"] == "float":
            values = [float("nan") if value is None and n % 2 else value for n, value in enumerate(values)]
        made[name] = pl.Series(values, dtype=TYPES[column["type"]])
    return pl.DataFrame(made)


NUMBERS = ("id", "few", "many", "price", "gaps", "twin", "nothing", "constant", "rising")
TEXTS = ("word", "code", "date_text")
CONDITION = {"type": "comparison", "column": {"name": "few"}, "operator": ">=", "parameter": 3}


def expectations() -> list[Expectation]:
    """Some 300 expectations."""
    made: list[tuple[str, dict[str, Any]]] = []

    def add(type_: str, **kwargs: Any) -> None:
        made.append((f"expect_{type_}", kwargs))

    for column in (*NUMBERS, *TEXTS, "flag", "day"):
        for mostly in (1.0, 0.8):
            add("column_values_to_not_be_null", column=column, mostly=mostly)
        add("column_values_to_be_null", column=column, mostly=0.2)
        add("column_values_to_be_unique", column=column, mostly=0.5)
        add("column_proportion_of_non_null_values_to_be_between", column=column, min_value=0.8, max_value=1)
        add("column_proportion_of_unique_values_to_be_between", column=column, min_value=0.1)
        add("column_unique_value_count_to_be_between", column=column, min_value=3, max_value=200)
        add("column_to_exist", column=column)
    for column in NUMBERS:
        add("column_values_to_be_between", column=column, min_value=0, max_value=40)
        add("column_values_to_be_between", column=column, min_value=0, max_value=40, strict_min=True, mostly=0.4)
        add("column_values_to_be_between", column=column, max_value=4, strict_max=True, row_condition=CONDITION)
        add("column_values_to_be_in_set", column=column, value_set=[0, 1, 2, 4.0, "x", None])
        add("column_values_to_not_be_in_set", column=column, value_set=[0, 1.5, 4])
        add("column_values_to_be_increasing", column=column)
        add("column_values_to_be_increasing", column=column, strictly=True, mostly=0.4)
        add("column_values_to_be_decreasing", column=column, mostly=0.5)
        add("column_min_to_be_between", column=column, min_value=-1, max_value=10)
        add("column_max_to_be_between", column=column, min_value=4, max_value=100, strict_min=True)
        add("column_mean_to_be_between", column=column, min_value=0, max_value=60)
        add("column_median_to_be_between", column=column, min_value=4, max_value=60, strict_min=True)
        add("column_stdev_to_be_between", column=column, min_value=1, max_value=20)
        add("column_sum_to_be_between", column=column, min_value=0, max_value=20_000)
        for how in (False, "linear", "lower", "higher", "midpoint"):
            ranges = {"quantiles": [0.0, 0.1, 0.5, 0.75, 1.0], "value_ranges": [[None, 5], [0, 40], [2, 60], [None, None], [0, 500]]}
            add("column_quantile_values_to_be_between", column=column, quantile_ranges=ranges, allow_relative_error=how)
    for column in ("id", "price", "gaps", "constant", "twin"):
        for double_sided in (True, False):
            add("column_value_z_scores_to_be_less_than", column=column, threshold=1.5, double_sided=double_sided, mostly=0.9)
        add("column_values_to_not_be_outliers", column=column, method="iqr")
        add("column_values_to_not_be_outliers", column=column, method="std", multiplier=1.2)
        partition = {"bins": [-10, 0, 3, 40, 60, 300], "weights": [0.2, 0.2, 0.2, 0.2, 0.2]}
        add("column_kl_divergence_to_be_less_than", column=column, partition_object=partition, threshold=1.0, tail_weight_holdout=0.1)
    weights = {"values": [0, 1, 2, 3, 4], "weights": [0.2] * 5}
    for column in ("few", "twin"):
        add("column_kl_divergence_to_be_less_than", column=column, partition_object=weights, threshold=0.3, tail_weight_holdout=0.1)
    for column in ("few", "twin", "flag"):
        for ties in (True, False):
            add("column_most_common_value_to_be_in_set", column=column, value_set=[0, 1, 2, True], ties_okay=ties)
    for column, values in (("few", [0, 1, 2, 3, 4, 5]), ("few", [1, 2, 9]), ("word", ["alpha", "beta"]), ("code", ["AB-001", "x"])):
        for relation in ("be_in_set", "contain_set", "equal_set"):
            add(f"column_distinct_values_to_{relation}", column=column, value_set=values)
    for column in TEXTS:
        add("column_values_to_be_in_set", column=column, value_set=["alpha", "", "soon", "AB-007"])
        add("column_values_to_not_be_in_set", column=column, value_set=["alpha", "soon", 3])
        add("column_value_lengths_to_be_between", column=column, min_value=1, max_value=6)
        add("column_value_lengths_to_be_between", column=column, min_value=1, strict_min=True, mostly=0.9)
        add("column_value_lengths_to_equal", column=column, value=6)
        add("column_values_to_match_regex", column=column, regex="^[a-z]+$", mostly=0.5)
        add("column_values_to_match_regex", column=column, regex=r"\d{3}")
        add("column_values_to_not_match_regex", column=column, regex="a")
        for match_on in ("any", "all"):
            add("column_values_to_match_regex_list", column=column, regex_list=["a", "^A"], match_on=match_on)
        add("column_values_to_not_match_regex_list", column=column, regex_list=["beta", "-1"])
        add("column_values_to_be_dateutil_parseable", column=column)
        add("column_values_to_match_strftime_format", column=column, strftime_format="%Y-%m-%d")
        add("column_values_to_be_between", column=column, min_value="B", max_value="d")
        add("column_values_to_be_json_parseable", column=column)
    add("column_values_to_be_json_parseable", column="document")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    add("column_values_to_match_json_schema", column="object", json_schema=schema, mostly=0.5)
    for low, high in (("2024-01-01", "2025-06-01"), ("2024-03-01T12:00:00", None), (None, "2024-02-01")):
        add("column_values_to_be_between", column="day", min_value=low, max_value=high)
        # No extremes of times: GX 1.24 raises on them with pandas 3.
    for ignored in ("both_values_are_missing", "either_value_is_missing", "neither"):
        for left, right in (("twin", "other"), ("many", "rising"), ("day", "later")):
            add("column_pair_values_to_be_equal", column_A=left, column_B=right, ignore_row_if=ignored, mostly=0.1)
            for or_equal in (True, False):
                add("column_pair_values_a_to_be_greater_than_b", column_A=left, column_B=right, or_equal=or_equal, ignore_row_if=ignored)
        add(
            "column_pair_values_to_be_in_set",
            column_A="twin",
            column_B="other",
            value_pairs_set=[(0, 1), (2, 2), (None, 3), (4, None)],
            ignore_row_if=ignored,
        )
    for ignored in ("all_values_are_missing", "any_value_is_missing", "never"):
        for columns in (["twin", "other", "third"], ["few", "many"]):
            add("compound_columns_to_be_unique", column_list=columns, ignore_row_if=ignored, mostly=0.3)
            add("select_column_values_to_be_unique_within_record", column_list=columns, ignore_row_if=ignored)
            add("multicolumn_sum_to_equal", column_list=columns, sum_total=6, ignore_row_if=ignored)
            add("multicolumn_values_to_be_equal", column_list=columns, ignore_row_if=ignored)
    names = list(table())
    add("table_columns_to_match_ordered_list", column_list=names)
    add("table_columns_to_match_ordered_list", column_list=names[1:])
    for exact in (True, False):
        add("table_columns_to_match_set", column_set=names[2:], exact_match=exact)
    add("table_column_count_to_equal", value=len(names))
    add("table_column_count_to_be_between", min_value=30)
    add("table_row_count_to_equal", value=ROWS - 1)
    for strict in (True, False):
        add("table_row_count_to_be_between", min_value=ROWS, strict_min=strict)
    for column, condition in (("price", CONDITION), ("gaps", {"type": "nullity", "column": {"name": "word"}, "is_null": False})):
        add("column_mean_to_be_between", column=column, min_value=0, max_value=50, row_condition=condition)
        add("column_values_to_not_be_null", column=column, row_condition=condition)
        add("column_values_to_be_unique", column=column, row_condition=condition)
        add("table_row_count_to_be_between", min_value=100, row_condition=condition)
    both = {
        "type": "and",
        "conditions": [CONDITION, {"type": "comparison", "column": {"name": "code"}, "operator": "!=", "parameter": "AB-001"}],
    }
    add("column_values_to_be_between", column="price", min_value=45, row_condition=both)
    return [Expectation(type_, kwargs) for type_, kwargs in made]
