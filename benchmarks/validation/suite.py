"""The table and the ten expectations that every side checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CARRIERS = ["UA", "AA", "B6", "DL", "EV", "MQ", "US", "9E", "WN", "VX"]
SUITE: dict[str, Any] = {
    "name": "flights",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay", "mostly": 0.9}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "min_value": -100, "max_value": 100}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "min_value": 0, "max_value": 5000}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "carrier", "value_set": CARRIERS}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "tail", "regex": "^N[0-9]{5}$"}},
        {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "tail", "value": 6}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "delay", "min_value": -1, "max_value": 1}},
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "distance", "min_value": 1, "max_value": 5000}},
    ],
}


def write_table(path: Path, rows: int, *, is_broken: bool) -> None:
    """Writes the table as Parquet.

    Args:
        path: Where to.
        rows: How many.
        is_broken: Whether one flight in 10,000 has a carrier that is none.
    """
    random = np.random.default_rng(7)
    delay = random.normal(0, 10, rows)
    carrier = np.array(CARRIERS)[random.integers(0, len(CARRIERS), rows)]
    if is_broken:
        carrier[::10_000] = "??"
    pl.DataFrame(
        {
            "id": np.arange(rows),
            "delay": pl.Series(delay).set(pl.Series(random.random(rows) < 0.02), None),
            "distance": random.integers(50, 5000, rows),
            "carrier": carrier,
            "tail": "N" + pl.Series(random.integers(10_000, 100_000, rows)).cast(pl.String),
        }
    ).write_parquet(path)
