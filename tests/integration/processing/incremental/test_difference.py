"""Comparing a full result with an incremental one."""

from __future__ import annotations

import pyarrow as pa
import pytest

from servers.processing.incremental.difference import Difference, difference
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.errors import TypeMismatch
from tests.integration.processing.incremental.histories import ENGINE


def compared(full: pa.Table, incremental: pa.Table, *sums: str, most_rows: int = 10) -> Difference:
    return difference(full, incremental, ENGINE, Cancellation(), sums=sums, most_rows=most_rows)


def test_the_order_of_rows_is_open_and_their_number_is_not() -> None:
    rows = pa.table({"a": ["x", "y", "y", None], "b": [1, 2, 2, None]})

    assert compared(rows, rows.take([3, 2, 1, 0])).is_none
    found = compared(rows, rows.take([0, 1, 3, 3]))
    assert (found.missing, found.surplus, found.is_none) == (1, 1, False)
    assert found.missing_rows.to_pylist() == [{"a": "y", "b": 2}]
    assert found.surplus_rows.to_pylist() == [{"a": None, "b": None}]
    assert compared(rows.slice(0, 0), rows.slice(0, 0)).is_none
    assert compared(rows, rows.slice(0, 0), most_rows=2).missing_rows.num_rows == 2


def test_floats_are_compared_exactly_unless_they_are_sums() -> None:
    full = pa.table({"key": [1, 1, 2, 3], "total": [0.1 + 0.2, 1e300, float("nan"), 0.0]})
    other = pa.table({"key": [1, 1, 2, 3], "total": [1e300 * (1 + 1e-12), 0.3, float("nan"), -0.0]})

    assert (compared(full, other).missing, compared(full, other, "total").is_none) == (2, True)
    far = pa.table({"key": [1, 1, 2, 3], "total": [0.3, float("inf"), 1.0, None]})
    found = compared(full, far, "total")
    assert (found.missing, found.surplus) == (3, 3)
    assert [row["key"] for row in found.surplus_rows.sort_by("key").to_pylist()] == [1, 2, 3]
    assert compared(far, far, "total").is_none


def test_results_with_other_columns_cannot_be_compared() -> None:
    rows = pa.table({"a": [1]})

    with pytest.raises(TypeMismatch, match="the full result has the columns"):
        compared(rows, rows.cast(pa.schema([("a", pa.int32())])))
    with pytest.raises(TypeMismatch, match="'a' is no column of floats"):
        compared(rows, rows, "a")
