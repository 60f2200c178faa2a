"""Features are served as they were pushed."""

from __future__ import annotations

import base64
import math
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.online import JoinKey, JoinKeyType
from sql_engine import write
from tests.integration.features.serving.served import NOW, ServedFeatures, plain, refusal_of, serve_request, statuses

AT = "2026-11-27T11:00:00Z"
AT_US = 1_795_777_200_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
_FLOAT32 = st.floats(width=32)
_WHOLE = {
    f"{sign}int{bits}": st.integers(0 if sign else -(2 ** (bits - 1)), 2 ** (bits if sign else bits - 1) - 1)
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    **_WHOLE,
    "float32": _FLOAT32,
    "float64": st.floats(),
    "date": st.dates(),
    "timestamp": _MOMENTS,
    "decimal(12, 3)": st.integers(-(10**12) + 1, 10**12 - 1).map(lambda number: Decimal(number).scaleb(-3)),
    "string": _TEXT,
    "bytes": st.binary(max_size=20),
    "list<int64>": st.lists(_WHOLE["int64"], max_size=4),
    "list<float32>": st.lists(_FLOAT32, max_size=4),
    "list<float64>": st.lists(st.floats(), max_size=4),
    "list<string>": st.lists(_TEXT, max_size=4),
}
ZEROS = {
    **dict.fromkeys(VALUES, 0),
    "bool": False,
    "date": "1970-01-01",
    "decimal(12, 3)": "0.000",
    "string": "",
    "bytes": b"",
    **{name: [] for name in VALUES if name.startswith("list")},
}


def in_json(value: Any) -> Any:
    """A value as it is pushed."""
    if isinstance(value, list):
        return [in_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53):
        return str(value)
    return value


def as_served(value: Any) -> Any:
    """A value as it is served, with floats as their bits."""
    if isinstance(value, list):
        return [as_served(each) for each in value]
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, date):
        return value.isoformat()
    return f"{value:f}" if isinstance(value, Decimal) else value


def names_of_types() -> dict[str, str]:
    return {f"of_{place}": name for place, name in enumerate(VALUES)}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_pushed_is_served_exactly_whatever_its_type(features: ServedFeatures, data: st.DataObject) -> None:
    types = names_of_types()
    rows = data.draw(st.lists(st.fixed_dictionaries({n: st.none() | VALUES[t] for n, t in types.items()}), min_size=1, max_size=3))
    view = features.view(types)
    features.push(view, [{"user_id": i, "at": AT} | {name: in_json(each) for name, each in row.items()} for i, row in enumerate(rows)])
    found = features.serve(view, {"user_id": list(range(len(rows)))})
    for name, type_name in types.items():
        values, states = found[name]
        assert states == ["NULL" if row[name] is None else "PRESENT" for row in rows]
        assert [as_served(each) for each in values] == [
            as_served(values_zero(type_name, value) if row[name] is None else row[name]) for row, value in zip(rows, values, strict=True)
        ]


def values_zero(type_name: str, served: Any) -> Any:
    return type(served)(ZEROS[type_name])


def test_each_value_says_what_is_known_of_it(features: ServedFeatures) -> None:
    view = features.view({"age": "int32", "name": "string"}, push=view_pb.PushSource(), max_age=Duration(seconds=7200))
    rows = [
        {"user_id": 1, "at": AT, "age": 30, "name": "a"},
        {"user_id": 2, "at": AT, "name": "b"},
        {"user_id": 3, "at": "2026-11-27T09:59:59Z", "age": 50, "name": "c"},
    ]
    features.push(view, rows)
    answer = features.stub().ServeFeatures(serve_request(view, {"user_id": [1, 2, 3, 4]}, include_event_times=True))
    age, name = answer.features
    assert (plain(age.values), statuses(age)) == ([30, 0, 0, 0], ["PRESENT", "NULL", "OUTSIDE_MAX_AGE", "NOT_FOUND"])
    assert (plain(name.values), statuses(name)) == (["a", "b", "", ""], ["PRESENT", "PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"])
    assert [each.ToMicroseconds() for each in name.event_times] == [AT_US, AT_US, AT_US - 3601 * 10**6, 0]
    assert (age.type, age.view, age.version, answer.feature_service_version) == ("int32", view.view, 1, 0)


def test_event_times_come_only_if_they_are_asked_for(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"})
    [age] = features.stub().ServeFeatures(serve_request(view, {"user_id": [1]})).features
    assert not age.event_times


def test_of_what_comes_late_the_newer_stays(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"})
    assert features.push(view, [{"user_id": 1, "at": AT, "age": 2}]).written_rows == 1
    late = features.push(view, [{"user_id": 1, "at": "2026-11-27T10:00:00Z", "age": 1}, {"user_id": 2, "at": AT, "age": 3}])
    assert (late.written_rows, late.kept_newer_rows) == (1, 1)
    assert features.serve(view, {"user_id": [1, 2]})["age"][0] == [2, 3]


def test_a_service_gives_several_views_under_the_names_that_it_says(features: ServedFeatures) -> None:
    account = (JoinKey("account_id", JoinKeyType.STRING),)
    accounts = features.view({"balance": "float64", "country": "string"}, keys=account)
    pairs = features.view({"transfers": "int64"}, keys=(*account, JoinKey("day", JoinKeyType.DATE)))
    for name, balance in (("a", 1.5), ("b", 2.5)):
        features.push(accounts, [{"account_id": name, "at": AT, "balance": balance, "country": "X"}])
    features.push(pairs, [{"account_id": "a", "day": "2026-11-27", "at": AT, "transfers": 7}])
    service = features.service(
        [
            view_pb.FeatureSelection(
                view=accounts.view, version=1, features=["balance"], prefix="sender_", join_key_names={"account_id": "sender"}
            ),
            view_pb.FeatureSelection(
                view=accounts.view, version=1, features=["balance"], prefix="receiver_", join_key_names={"account_id": "receiver"}
            ),
            view_pb.FeatureSelection(view=pairs.view, version=1, join_key_names={"account_id": "sender"}),
        ],
        [accounts, pairs],
    )
    entities = {"sender": ["a", "b"], "receiver": ["b", "c"], "day": [date(2026, 11, 27)] * 2}
    answer = features.stub().ServeFeatures(serve_request(service, entities))
    assert answer.feature_service_version == 1
    assert [(each.name, plain(each.values), statuses(each)) for each in answer.features] == [
        ("sender_balance", [1.5, 2.5], ["PRESENT", "PRESENT"]),
        ("receiver_balance", [2.5, 0.0], ["PRESENT", "NOT_FOUND"]),
        ("transfers", [7, 0], ["PRESENT", "NOT_FOUND"]),
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", True),
        ("int64", -(2**63)),
        ("string", "ü"),
        ("bytes", b"\0\xff"),
        ("date", date(1969, 12, 31)),
        ("timestamp", datetime(1969, 12, 31, 23, 59, 59, 5, tzinfo=UTC)),
    ],
)
def test_a_join_key_of_any_type_is_found_again(features: ServedFeatures, kind: str, value: Any) -> None:
    view = features.view({"age": "int32"}, keys=(JoinKey("it", JoinKeyType(kind)),))
    features.push(view, [{"it": in_json(value), "at": AT, "age": 1}])
    assert features.serve(view, {"it": [value]})["age"] == ([1], ["PRESENT"])


def test_a_new_generation_is_read_at_once_in_the_process_that_made_it(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"})
    features.push(view, [{"user_id": 1, "at": AT, "age": 1}])
    assert features.serve(view, {"user_id": [1]})["age"][0] == [1]
    generation = features.begin_building(view)
    # Goes to both: the one that is read, and the one that is being made.
    features.push(view, [{"user_id": 2, "at": AT, "age": 2}])
    assert features.serve(view, {"user_id": [1, 2]})["age"][0] == [1, 2]
    ended = {"dataset_version": 5, "table_id": "t", "has_skipped_rows": False, "newest_event_time": NOW, "rows": 0, "now": NOW}
    write(features.engine, lambda c: features.states.end_materialization(c, view.id, generation=generation, **ended))
    assert features.serve(view, {"user_id": [1, 2]})["age"] == ([0, 2], ["NOT_FOUND", "PRESENT"])


def refused(features: ServedFeatures, request: pb.ServeFeaturesRequest) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.RpcError) as error:
        features.stub().ServeFeatures(request)
    found = refusal_of(error.value)
    return found.code, found.reason, found.message


def test_entities_that_are_not_those_that_are_needed_are_refused(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"}, keys=(*[JoinKey("user_id", JoinKeyType.INT64)], JoinKey("day", JoinKeyType.DATE)))
    day = [date(2026, 11, 27)]
    entities: list[tuple[dict[str, list[Any]], str]] = [
        ({"user_id": [1]}, "join key 'day' is missing; needed are user_id (int64), day (date)"),
        ({"user_id": [1], "day": day, "usr": [1]}, "'usr' is not known; needed are user_id (int64), day (date)"),
        ({"user_id": ["1"], "day": day}, "join key 'user_id' is int64 and comes as int64_values, not as string_values"),
        ({"user_id": [1, 2], "day": day}, "'day' has 1 values and 'user_id' has 2"),
        ({"user_id": [], "day": day}, "'user_id' has no values"),
        ({"user_id": [1], "day": ["2026-11-31"]}, "'2026-11-31' is no date"),
        ({"user_id": [1], "day": ["20261127"]}, "'20261127' is no date"),
    ]
    for given_entities, message in entities:
        code, reason, text = refused(features, serve_request(view, given_entities))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ENTITIES")
        assert message in text
    code, reason, text = refused(features, serve_request(view, {"user_id": [1], "day": day}, {"amount": [1.0]}))
    assert reason == "INVALID_ENTITIES"
    assert text == "request_inputs: 'amount' is not known; none are needed"
    many = serve_request(view, {"user_id": list(range(101)), "day": day * 101})
    assert refused(features, many)[:2] == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_SERVED_ROWS")


def test_a_time_with_nanoseconds_is_no_key(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"}, keys=(JoinKey("it", JoinKeyType.TIMESTAMP),))
    request = serve_request(view, {"it": [NOW]})
    request.entities["it"].timestamp_values.values[0].nanos = 1
    assert "whole microseconds" in refused(features, request)[2]


def test_a_view_that_is_kept_offline_alone_is_not_served(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"}, push=view_pb.PushSource(), offline_only=True)
    code, reason, _ = refused(features, serve_request(view, {"user_id": [1]}))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_VIEW_IS_OFFLINE_ONLY")


def test_serving_needs_the_right_to(features: ServedFeatures) -> None:
    view = features.view({"age": "int32"})
    stub = features.stub({"default": ["features.values.write"]})
    with pytest.raises(grpc.RpcError) as error:
        stub.ServeFeatures(serve_request(view, {"user_id": [1]}))
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED


def of_two(features: ServedFeatures, **spec: Any) -> str:
    view = features.view({"total": "float32", "count": "int64", "name": "string"})
    rows = [{"user_id": 1, "at": AT, "total": 0.1, "count": 3, "name": "Ada"}, {"user_id": 2, "at": AT, "count": 0, "name": "Bob"}]
    features.push(view, rows)
    return features.service([view_pb.FeatureSelection(view=view.view, version=1, prefix="user_")], [view], **spec)


def test_on_demand_features_are_computed_of_features_inputs_and_those_before_them(features: ServedFeatures) -> None:
    import duckdb

    expressions = {
        "mean": ("user_total / user_count", "float64"),
        "scaled": ("mean * amount -- of this payment", "float32"),
        "greeting": ("'Hello ' || upper(user_name)", "string"),
        "late": ("hour(paid_at) >= 12", "bool"),
        "day": ("paid_at", "date"),
        "known": ("list_filter([user_count, 1], lambda x: x > 0)", "list<int64>"),
    }
    service = of_two(
        features,
        request_inputs=[view_pb.RequestInput(name="amount", type="float64"), view_pb.RequestInput(name="paid_at", type="timestamp")],
        on_demand_features=[view_pb.OnDemandFeature(name=n, expression=e, type=t) for n, (e, t) in expressions.items()],
    )
    found = features.serve(service, {"user_id": [1, 2, 3]}, {"amount": [2.5, 1.0, 1.0], "paid_at": [NOW, NOW - timedelta(hours=1), NOW]})
    query = "SELECT CAST(0.1 AS FLOAT) / CAST(3 AS BIGINT), CAST(CAST(CAST(0.1 AS FLOAT) / CAST(3 AS BIGINT) AS DOUBLE) * 2.5 AS FLOAT)"
    [(mean, scaled)] = duckdb.sql(query).fetchall()
    assert found["mean"] == ([mean, 0.0, 0.0], ["PRESENT", "NULL", "NULL"])
    assert found["scaled"] == ([scaled, 0.0, 0.0], ["PRESENT", "NULL", "NULL"])
    assert found["greeting"] == (["Hello ADA", "Hello BOB", ""], ["PRESENT", "PRESENT", "NULL"])
    assert found["late"] == ([True, False, True], ["PRESENT"] * 3)
    assert found["day"] == (["2026-11-27"] * 3, ["PRESENT"] * 3)
    assert found["known"] == ([[3, 1], [1], [1]], ["PRESENT"] * 3)
    assert list(found)[-6:] == list(expressions)


def test_inputs_of_on_demand_features_are_checked(features: ServedFeatures) -> None:
    ratio = view_pb.OnDemandFeature(name="ratio", expression="user_count / amount", type="float64")
    service = of_two(features, request_inputs=[view_pb.RequestInput(name="amount", type="float64")], on_demand_features=[ratio])
    for inputs, message in (
        ({}, "request input 'amount' is missing; needed are amount (float64)"),
        ({"amount": [1]}, "'amount' is float64 and comes as double_values, not as int64_values"),
        ({"amount": [1.0, 2.0]}, "'amount' has 2 values and 'user_id' has 1"),
    ):
        _, reason, text = refused(features, serve_request(service, {"user_id": [1]}, inputs))
        assert reason == "INVALID_ENTITIES"
        assert message in text


def test_values_that_an_expression_cannot_take_are_an_error_that_says_so(features: ServedFeatures) -> None:
    number = view_pb.OnDemandFeature(name="number", expression="user_name", type="int64")
    service = of_two(features, on_demand_features=[number])
    code, reason, text = refused(features, serve_request(service, {"user_id": [1]}))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ON_DEMAND_FEATURE_FAILED")
    assert "Ada" in text
    # The thread that served it serves on.
    assert features.serve(service, {"user_id": [9]})["number"] == ([0], ["NULL"])
