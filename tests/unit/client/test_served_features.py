"""Served features, as the caller reads them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf.json_format import ParseDict
from mlmesh import served_features
from mlmesh.served_features import ServedFeatures
from mlops.features.v1 import feature_serving_service_pb2 as pb

NOON = "2026-11-27T12:00:00Z"
# Where a value is not present, what stands there says nothing.
COLUMNS: list[tuple[str, dict[str, Any], Any]] = [
    ("bool", {"bool_values": {"values": [True, False]}}, True),
    ("int32", {"int64_values": {"values": [-7, 0]}}, -7),
    ("uint64", {"uint64_values": {"values": [2**64 - 1, 0]}}, 2**64 - 1),
    ("float32", {"float_values": {"values": [0.5, 0]}}, 0.5),
    ("float64", {"double_values": {"values": [0.1, 0]}}, 0.1),
    ("string", {"string_values": {"values": ["ada", ""]}}, "ada"),
    ("date", {"string_values": {"values": ["2026-11-27", ""]}}, date(2026, 11, 27)),
    ("decimal(10, 2)", {"string_values": {"values": ["12.50", ""]}}, Decimal("12.50")),
    ("bytes", {"bytes_values": {"values": ["AA==", ""]}}, b"\x00"),
    ("timestamp", {"timestamp_values": {"values": [NOON, NOON]}}, datetime(2026, 11, 27, 12, tzinfo=UTC)),
    ("list<int64>", {"list_values": {"lengths": [2, 0], "int64_values": {"values": [1, 2]}}}, [1, 2]),
    ("list<string>", {"list_values": {"lengths": [1, 1], "string_values": {"values": ["a", "b"]}}}, ["a"]),
    ("list<float32>", {"list_values": {"lengths": [0, 0]}}, []),
]


def answer(*features: tuple[str, str, dict[str, Any]], statuses: tuple[int, ...] = (1, 3)) -> pb.ServeFeaturesResponse:
    message = {
        "feature_service_version": 2,
        "features": [
            {"name": name, "type": kind, "view": "activity", "version": 3, "values": values, "statuses": list(statuses)}
            for name, kind, values in features
        ],
    }
    return ParseDict(message, pb.ServeFeaturesResponse())


@pytest.mark.parametrize(("kind", "values", "first"), COLUMNS, ids=[kind for kind, _, _ in COLUMNS])
def test_a_value_is_what_python_calls_it_and_none_where_there_is_none(kind: str, values: dict[str, Any], first: Any) -> None:
    found = ServedFeatures(answer(("f", kind, values)))
    assert found["f"] == [first, None]
    assert found.to_arrow().column("f").to_pylist() == [first, None]


def test_tables_keep_the_types_of_features() -> None:
    table = ServedFeatures(answer(*((kind, kind, values) for kind, values, _ in COLUMNS))).to_arrow()
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types == {
        **{kind: kind for kind in ("bool", "int32", "uint64", "string")},
        **{"float32": "float", "float64": "double", "date": "date32[day]", "bytes": "binary", "timestamp": "timestamp[us, tz=UTC]"},
        **{"decimal(10, 2)": "decimal128(10, 2)", "list<int64>": "list<item: int64>", "list<string>": "list<item: string>"},
        "list<float32>": "list<item: float>",
    }


def test_it_is_a_mapping_of_columns() -> None:
    found = ServedFeatures(answer(("clicks", "int64", COLUMNS[1][1]), ("name", "string", COLUMNS[5][1])))
    assert (list(found), len(found), found.row_count, found.feature_service_version) == (["clicks", "name"], 2, 2, 2)
    assert found.rows() == [{"clicks": -7, "name": "ada"}, {"clicks": None, "name": None}]
    assert pa.table(dict(found)).num_rows == 2
    assert found.to_pandas()["clicks"].isna().tolist() == [False, True]
    assert (found.type_of("name"), found.view_of("name")) == ("string", ("activity", 3))
    assert repr(found) == "<2 rows of clicks, name>"
    with pytest.raises(KeyError, match="no feature 'click'; there are: clicks, name"):
        found["click"]


def test_no_value_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    column = served_features._column
    monkeypatch.setattr(served_features, "_column", lambda feature: read.append(feature.name) or column(feature))

    found = ServedFeatures(answer(("a", "int64", COLUMNS[1][1]), ("b", "int64", COLUMNS[1][1])))
    assert (found.row_count, read) == (2, [])
    assert found["b"] is found["b"]
    assert read == ["b"]


def test_why_a_value_is_missing_is_told() -> None:
    found = ServedFeatures(answer(("f", "int64", {"int64_values": {"values": [1, 0, 0, 0]}}), statuses=(1, 2, 3, 4)))
    assert found["f"] == [1, None, None, None]
    assert found.statuses("f") == ["present", "null", "not_found", "outside_max_age"]


def test_an_event_time_is_a_moment_or_none() -> None:
    message = answer(("f", "int64", COLUMNS[1][1]), ("ratio", "float64", COLUMNS[4][1]))
    for stamp in (NOON, "1970-01-01T00:00:00Z"):
        message.features[0].event_times.add().FromJsonString(stamp)
    message.features[1].view = ""
    found = ServedFeatures(message)
    assert found.event_times("f") == [datetime(2026, 11, 27, 12, tzinfo=UTC), None]
    with pytest.raises(ValueError, match="computed on demand"):
        found.event_times("ratio")
    with pytest.raises(ValueError, match="include_event_times=True"):
        ServedFeatures(answer(("f", "int64", COLUMNS[1][1]))).event_times("f")
