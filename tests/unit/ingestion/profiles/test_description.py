"""What sketches say, as callers see it."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.profiles.converters import profile_to_proto
from servers.ingestion.profiles.description import profile_object
from servers.ingestion.profiles.sketches import TableSketch


def described(array: pa.Array) -> dict[str, Any]:
    """The column as a data process tells it to the server, which can make a message of it."""
    table = pa.table({"column": array})
    profile = orjson.loads(orjson.dumps(profile_object("orders", 0, table.schema, TableSketch.of(table.to_batches()))))
    assert profile_to_proto(profile).columns[0].name == "column"
    column: dict[str, Any] = profile["columns"][0]
    return column


@pytest.mark.parametrize(
    ("values", "arrow_type", "minimum", "maximum"),
    [
        ([1, 2**53 + 1], pa.int64(), 1, "9007199254740993"),
        ([1.5, math.inf, math.nan], pa.float64(), 1.5, "Infinity"),
        ([Decimal("2.50"), Decimal("10")], pa.decimal128(10, 2), "2.50", "10.00"),
        ([date(2020, 1, 2)], pa.date32(), "2020-01-02", "2020-01-02"),
        ([datetime(2020, 1, 2, 3, 4, 5, 6)], pa.timestamp("us"), "2020-01-02T03:04:05.000006", "2020-01-02T03:04:05.000006"),
        ([datetime(2020, 1, 2, tzinfo=UTC)], pa.timestamp("us", "UTC"), "2020-01-02T00:00:00+00:00", "2020-01-02T00:00:00+00:00"),
        ([True, False], pa.bool_(), False, True),
        ([b"\x00", b"\xff"], pa.binary(), "AA==", "/w=="),
        (["é", "z", "𐍈"], pa.string(), "z", "𐍈"),
        ([None], pa.string(), None, None),
    ],
    ids=str,
)
def test_values_are_those_of_a_preview(values: list[Any], arrow_type: pa.DataType, minimum: Any, maximum: Any) -> None:
    column = described(pa.array(values, arrow_type))

    assert (column["minimum"], column["maximum"]) == (minimum, maximum)


def test_quantiles_and_histograms_of_times_are_seconds() -> None:
    column = described(pa.array([date(1970, 1, 1), date(1970, 1, 2), date(1970, 1, 4)]))

    assert (column["quantiles"][0], column["quantiles"][-1]) == (0.0, 3 * 86_400.0)
    assert column["histogram"] == {"edges": [0.0, 86_400.0, 172_800.0, 259_200.0, 345_600.0], "counts": [1.0, 1.0, 0.0, 1.0]}


def test_whole_numbers_of_a_small_range_have_a_bar_each() -> None:
    column = described(pa.array([5] * 10 + [6] * 20 + [9], pa.int32()))

    assert column["histogram"]["edges"] == [5, 6, 7, 8, 9, 10]
    assert column["histogram"]["counts"] == pytest.approx([10, 20, 0, 0, 1])


def test_extremes_far_out_do_not_flatten_a_histogram() -> None:
    values = np.concatenate((np.random.default_rng(0).normal(size=10_000), [1e12]))
    column = described(pa.array(values))

    assert column["maximum"] == 1e12
    assert column["histogram"]["edges"][-1] < 10


def test_one_value_has_one_bar() -> None:
    assert described(pa.array([2.5, 2.5]))["histogram"] == {"edges": [2.5, 2.5], "counts": [2.0]}


def test_values_are_frequent_where_they_are() -> None:
    same, other = pa.array(["a", "b", "b"]), pa.array([f"{number}" for number in range(50_000)])

    assert described(same)["frequent_values"] == [{"value": "b", "count": 2}, {"value": "a", "count": 1}]
    assert described(other)["frequent_values"] == []
    found = described(pa.concat_arrays([other, pa.array(["often"] * 30_000)]))["frequent_values"]
    assert [one["value"] for one in found] == ["often"]
    assert 30_000 - 80_000 / 129 <= found[0]["count"] <= 30_000


@given(st.lists(st.one_of(st.none(), st.floats(width=64)), max_size=60))
def test_histograms_cover_what_lies_between_their_limits(values: list[float | None]) -> None:
    column = described(pa.array(values, pa.float64()))

    histogram = column["histogram"]
    if histogram is not None:
        edges, counts = histogram["edges"], histogram["counts"]
        finite = [value for value in values if value is not None and edges[0] <= value <= edges[-1]]
        assert len(edges) == len(counts) + 1
        assert edges == sorted(edges)
        assert sum(counts) == pytest.approx(len(finite))
        assert min(counts) >= 0
