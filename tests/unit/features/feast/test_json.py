"""JSON of Feast's clients is read strictly for keys, and generously for the times of rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import KeyColumn, ViewVersion
from servers.features.feast.errors import InvalidFeastRequest, rest_error
from servers.features.feast.json_entities import read_json_column
from servers.features.feast.pushed_columns import columns_of_texts, rows_of
from servers.features.online import JoinKey, JoinKeyType
from servers.features.serving.errors import InvalidEntities

SPEC = pb.FeatureViewSpec(
    event_time_column="happened",
    write_time_column="written",
    features=[
        pb.Feature(name="count", type="int64", column="n"),
        pb.Feature(name="rate", type="float64"),
        pb.Feature(name="seen", type="timestamp"),
        pb.Feature(name="price", type="decimal(6, 2)"),
        pb.Feature(name="flag", type="bool"),
    ],
)
VIEW = ViewVersion(
    "id", "view", "default", "v", 1, SPEC, (KeyColumn(JoinKey("user", JoinKeyType.STRING), "user_id"),), "rows", "", "me", datetime.now(UTC)
)


def as_rows(**columns: list[Any]) -> list[dict[str, Any]]:
    return [dict(row.items()) for row in rows_of(VIEW, columns).rows]


@pytest.mark.parametrize(
    ("its_type", "values", "field", "expected"),
    [
        ("bool", [True, False], "bool_values", [True, False]),
        ("int64", [7, "-9223372036854775808", 2**63 - 1], "int64_values", [7, -(2**63), 2**63 - 1]),
        ("float64", [1, 0.5, "Infinity"], "double_values", [1.0, 0.5, float("inf")]),
        ("string", ["é"], "string_values", ["é"]),
        ("bytes", ["AP8="], "bytes_values", [b"\x00\xff"]),
        ("date", ["2026-11-27"], "string_values", ["2026-11-27"]),
    ],
)
def test_keys_are_read_as_their_type(its_type: str, values: list[Any], field: str, expected: list[Any]) -> None:
    assert list(getattr(read_json_column("k", its_type, values), field).values) == expected


def test_times_are_seconds_or_texts_which_are_in_utc_unless_they_say_otherwise() -> None:
    given = [1_795_777_200, 1_795_777_200.5, "2026-11-27T11:00:00", "2026-11-27T12:00:00+01:00", "2026-11-27 11:00:00.000001Z"]

    times = read_json_column("k", "timestamp", given).timestamp_values.values

    assert [time.ToMicroseconds() - 1_795_777_200_000_000 for time in times] == [0, 500_000, 0, 0, 1]


@pytest.mark.parametrize(
    ("its_type", "value"),
    [
        *(("bool", each) for each in (1, "true", None)),
        *(("int64", each) for each in (True, 1.0, "1.0", 2**63, None, [1], "x" * 500)),
        *(("float64", each) for each in (True, "1", None)),
        *(("string", each) for each in (1, None)),
        *(("bytes", each) for each in ("%", 1)),
        *(("timestamp", each) for each in (None, "yesterday", True, 1e300, [1])),
    ],
)
def test_a_key_of_another_type_is_refused_with_its_row(its_type: str, value: Any) -> None:
    good: dict[str, Any] = {"bool": True, "int64": 1, "float64": 1.0, "string": "a", "bytes": "", "timestamp": 0}
    with pytest.raises(InvalidEntities, match=r"'k' is .* row 1 is "):
        read_json_column("k", its_type, [good[its_type], value])


def test_columns_are_found_by_the_names_of_the_source_or_of_the_view() -> None:
    by_source = as_rows(user_id=["a"], n=[1], happened=["2026-11-27T11:00:00Z"], written=["2026-11-27T11:00:00Z"], more=[1])
    by_view = as_rows(user=["a"], count=[1], event_timestamp=["2026-11-27T11:00:00"], created=["2026-11-27 11:00:00"], more=[1])

    assert by_source == [{"user_id": "a", "n": 1, "happened": "2026-11-27T11:00:00Z", "written": "2026-11-27T11:00:00Z"}]
    assert by_view == [{**by_source[0], "written": "2026-11-27 11:00:00Z"}]


def test_numbers_keep_their_digits_and_become_times_and_decimals() -> None:
    (row,) = as_rows(n=[2**53 + 1], seen=[1_795_777_200], price=[1.5], rate=[0.1], happened=[1_795_777_200.25])

    assert row == {
        "n": str(2**53 + 1),
        "seen": "2026-11-27T11:00:00+00:00",
        "price": "1.5",
        "rate": 0.1,
        "happened": "2026-11-27T11:00:00.250000+00:00",
    }


@pytest.mark.parametrize("columns", [{}, {"user": []}, {"user": ["a"], "n": []}])
def test_rows_that_are_none_are_refused(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(InvalidFeastRequest, match="df"):
        rows_of(VIEW, columns)


def test_texts_become_numbers_and_truth_values_where_the_view_has_them() -> None:
    columns = columns_of_texts(VIEW, {"rate": "0.25", "flag": "False", "n": "8", "user_id": "1", "seen": "x"})

    assert columns == {"rate": [0.25], "flag": [False], "n": ["8"], "user_id": ["1"], "seen": ["x"]}


def test_an_error_is_a_text_of_which_feast_makes_an_exception() -> None:
    status = status_pb2.Status(code=5, message="there is no feature view 'a'")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="FEATURE_VIEW_NOT_FOUND", domain="mlmesh"))

    error = json.loads(json.loads(rest_error(status)))

    assert {name: error[name] for name in ("module", "class", "message", "code")} == {
        "module": "feast.errors",
        "class": "FeatureViewNotFoundException",
        "message": "there is no feature view 'a'",
        "code": 5,
    }
