"""Join keys and inputs of whatever people hold in their hands."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from mlmesh.errors import InvalidArgument
from mlmesh.feature_columns import values_by_name, values_message

DAY, NOON = date(2026, 11, 27), datetime(2026, 11, 27, 12, tzinfo=UTC)
WHOLE = {"int64_values": {"values": ["7", "8"]}}
DAYS = {"string_values": {"values": ["2026-11-27"]}}
MOMENTS = {"timestamp_values": {"values": ["2026-11-27T12:00:00Z"]}}


def sent(column: Any) -> Any:
    return MessageToDict(values_message("c", column), preserving_proto_field_name=True)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([7, 8], WHOLE),
        (np.array([7, 8], "u1"), WHOLE),
        (pd.Series([7, 8], dtype="Int64"), WHOLE),
        (pl.Series([7, 8]), WHOLE),
        (pa.chunked_array([[7], [8]]), WHOLE),
        (7, {"int64_values": {"values": ["7"]}}),
        (np.int64(7), {"int64_values": {"values": ["7"]}}),
        ([1, 2.5], {"double_values": {"values": [1.0, 2.5]}}),
        (np.array([2.5], "f4"), {"double_values": {"values": [2.5]}}),
        ([True, False], {"bool_values": {"values": [True, False]}}),
        ("ada", {"string_values": {"values": ["ada"]}}),
        (pd.Series(["ada"]).astype("category"), {"string_values": {"values": ["ada"]}}),
        (pa.array(["ada"]), {"string_values": {"values": ["ada"]}}),
        ([b"\x00"], {"bytes_values": {"values": ["AA=="]}}),
        ([DAY], DAYS),
        (np.array([DAY], "M8[D]"), DAYS),
        (pa.array([DAY]), DAYS),
        ([NOON.astimezone(timezone(timedelta(hours=2)))], MOMENTS),
        (np.array(["2026-11-27T12:00"], "M8[ns]"), MOMENTS),
        (pd.Series([pd.Timestamp(NOON)]), MOMENTS),
        (pl.Series([NOON]), MOMENTS),
        (pa.array([NOON]), MOMENTS),
    ],
    ids=str,
)
def test_a_column_is_sent_as_what_it_is(column: Any, expected: Any) -> None:
    assert sent(column) == expected


@pytest.mark.parametrize(
    "table",
    [
        {"user_id": [7, 8]},
        pd.DataFrame({"user_id": [7, 8]}),
        pl.DataFrame({"user_id": [7, 8]}),
        pa.table({"user_id": [7, 8]}),
        pa.RecordBatch.from_pydict({"user_id": [7, 8]}),
    ],
    ids=lambda table: f"{type(table).__module__}.{type(table).__name__}",
)
def test_a_table_is_its_columns(table: Any) -> None:
    assert {name: list(values.int64_values.values) for name, values in values_by_name(table).items()} == {"user_id": [7, 8]}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([1, None], "VALUE_MISSING"),
        (pd.Series([1, None], dtype="Int64"), "VALUE_MISSING"),
        (pd.Series([pd.NaT, pd.Timestamp(NOON)]), "VALUE_MISSING"),
        (pl.Series([1, None]), "VALUE_MISSING"),
        (pa.array([1, None]), "VALUE_MISSING"),
        (np.array(["NaT"], "M8[us]"), "VALUE_MISSING"),
        ([1, "a"], "VALUE_TYPE"),
        ([True, 1], "VALUE_TYPE"),
        ([2**63], "VALUE_TYPE"),
        ([[1]], "VALUE_TYPE"),
        (np.array([1j]), "VALUE_TYPE"),
        ([datetime(2026, 1, 1)], "TIME_ZONE_MISSING"),
        ([], "COLUMNS_INVALID"),
        (np.zeros((2, 2)), "COLUMNS_INVALID"),
        ({"nested": [1]}, "COLUMNS_INVALID"),
    ],
    ids=str,
)
def test_what_would_be_another_entity_is_refused(column: Any, reason: str) -> None:
    with pytest.raises(InvalidArgument, match="'c'") as raised:
        values_message("c", column)
    assert raised.value.reason == reason


def test_a_list_of_values_is_no_columns() -> None:
    with pytest.raises(InvalidArgument, match="no columns by name"):
        values_by_name([7, 8])
