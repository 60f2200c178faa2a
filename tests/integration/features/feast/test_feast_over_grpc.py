"""Feast's gRPC services: the same answers as over HTTP, in Feast's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import ViewVersion
from servers.features.feast import contract
from tests.integration.features.feast.conftest import FeastServer

FEATURES = {
    "flag": "bool",
    "small": "int16",
    "count": "int64",
    "big": "uint64",
    "half": "float32",
    "rate": "float64",
    "word": "string",
    "photo": "bytes",
    "day": "date",
    "seen": "timestamp",
    "price": "decimal(6, 2)",
    "numbers": "list<int64>",
    "halves": "list<float32>",
    "words": "list<string>",
}
GET = ("/feast.serving.ServingService/GetOnlineFeatures", "/GrpcFeatureServer/GetOnlineFeatures")


@pytest.fixture(scope="module")
def things(feast_server: FeastServer) -> ViewVersion:
    view = feast_server.features.view(FEATURES, name="things", push=view_pb.PushSource())
    row: dict[str, Any] = {"flag": True, "small": -3, "count": str(2**60), "big": 9, "half": 0.5, "rate": 0.1, "word": "é", "photo": "AP8="}
    row |= {"day": "2026-11-27", "seen": "2026-11-27T11:00:00.75Z", "price": "1.50", "numbers": [1, 2], "halves": [0.5], "words": ["a"]}
    feast_server.features.push(view, [{"user_id": 1, "at": "2026-11-27T11:00:00.25Z", **row}, {"user_id": 2, "at": "2026-11-27T11:00:00Z"}])
    return view


def asking(features: Sequence[str], user_ids: Sequence[int], **more: Any) -> Any:
    request = contract.GetOnlineFeaturesRequest(**more)
    request.features.val.extend(features)
    request.entities["user_id"].val.extend([contract.Value(int64_val=each) for each in user_ids])
    return request


@pytest.mark.parametrize("path", GET)
def test_every_type_has_its_kind(feast_server: FeastServer, things: ViewVersion, path: str) -> None:
    answer = feast_server.call(path, asking([f"things:{name}" for name in FEATURES], [1, 2, 3]))

    assert list(answer.metadata.feature_names.val) == ["user_id", *FEATURES]
    assert [value.int64_val for value in answer.results[0].values] == [1, 2, 3]
    kinds = {
        name: (vector.values[0].WhichOneof("val"), getattr(vector.values[0], vector.values[0].WhichOneof("val")))
        for name, vector in zip(answer.metadata.feature_names.val, answer.results, strict=True)
    }
    assert {
        name: kind if "list" not in kind else (kind, list(value.val)) for name, (kind, value) in kinds.items() if name != "user_id"
    } == {
        "flag": "bool_val",
        "small": "int32_val",
        "count": "int64_val",
        "big": "int64_val",
        "half": "float_val",
        "rate": "double_val",
        "word": "string_val",
        "photo": "bytes_val",
        "day": "string_val",
        "seen": "unix_timestamp_val",
        "price": "decimal_val",
        "numbers": ("int64_list_val", [1, 2]),
        "halves": ("float_list_val", [0.5]),
        "words": ("string_list_val", ["a"]),
    }
    assert (kinds["count"][1], kinds["photo"][1], kinds["price"][1]) == (2**60, b"\x00\xff", "1.50")
    assert kinds["seen"][1] == 1_795_777_200
    for vector in answer.results[1:]:
        assert list(vector.statuses) == [1, 2, 3]
        assert [value.WhichOneof("val") for value in vector.values[1:]] == [None, None]
        assert [(time.seconds, time.nanos) for time in vector.event_timestamps] == [
            (1_795_777_200, 250_000_000),
            (1_795_777_200, 0),
            (0, 0),
        ]


def test_a_value_that_feast_has_no_kind_for_is_refused(feast_server: FeastServer, things: ViewVersion) -> None:
    feast_server.features.push(things, [{"user_id": 9, "at": "2026-11-27T11:00:00Z", "big": str(2**63)}])

    with pytest.raises(grpc.RpcError) as refused:
        feast_server.call(GET[0], asking(["things:big"], [9]))

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_join_keys_of_other_kinds_are_refused_and_smaller_integers_taken(feast_server: FeastServer, things: ViewVersion) -> None:
    small, text = contract.GetOnlineFeaturesRequest(), contract.GetOnlineFeaturesRequest()
    for request, value in ((small, contract.Value(int32_val=1)), (text, contract.Value(string_val="1"))):
        request.features.val.append("things:count")
        request.entities["user_id"].val.append(value)

    assert feast_server.call(GET[0], small).results[1].values[0].int64_val == 2**60
    with pytest.raises(grpc.RpcError) as refused:
        feast_server.call(GET[0], text)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_rows_are_pushed_as_values_and_as_texts(feast_server: FeastServer, things: ViewVersion) -> None:
    value = contract.Value
    typed = contract.PushRequest(stream_feature_view="things", to="online")
    columns = {"user_id": value(int64_val=21), "at": value(unix_timestamp_val=1_795_777_200), "photo": value(bytes_val=b"\x01")}
    columns |= {"numbers": value(int64_list_val={"val": [2**60]}), "flag": value(bool_val=True), "word": value(null_val=0)}
    for name, each in columns.items():
        typed.typed_features[name].CopyFrom(each)
    texts = contract.WriteToOnlineStoreRequest(
        feature_view_name="things",
        features={"user_id": "22", "event_timestamp": "2026-11-27 11:00:00", "flag": "True", "rate": "0.25", "count": "8"},
    )

    assert feast_server.call("/GrpcFeatureServer/Push", typed).status
    assert feast_server.call("/GrpcFeatureServer/WriteToOnlineStore", texts).status
    answer = feast_server.call(
        GET[1], asking([f"things:{name}" for name in ("photo", "numbers", "flag", "rate", "count", "word")], [21, 22])
    )

    photo, numbers, flag, rate, count, word = answer.results[1:]
    assert (photo.values[0].bytes_val, list(numbers.values[0].int64_list_val.val), flag.values[0].bool_val) == (b"\x01", [2**60], True)
    assert (flag.values[1].bool_val, rate.values[1].double_val, count.values[1].int64_val) == (True, 0.25, 8)
    assert list(word.statuses) == [2, 2]


def test_a_value_of_a_kind_that_no_feature_has_is_not_taken_for_null(feast_server: FeastServer, things: ViewVersion) -> None:
    request = contract.PushRequest(stream_feature_view="things", to="online")
    # Field 20 is a map.
    request.typed_features["word"].MergeFromString(b"\xa2\x01\x00")

    with pytest.raises(grpc.RpcError) as refused:
        feast_server.call("/GrpcFeatureServer/Push", request)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a map" in str(refused.value.details())


def test_the_server_names_its_version_and_methods_have_permissions(feast_server: FeastServer, things: ViewVersion) -> None:
    info = contract.GetFeastServingInfoRequest()
    reader = {"fares": ["features.values.read"]}

    assert feast_server.call("/feast.serving.ServingService/GetFeastServingInfo", info).version
    assert feast_server.call("/feast.serving.ServingService/GetFeastServingInfo", info, reader, **{"x-mlmesh-project": "fares"}).version
    for path, request in ((GET[0], asking(["things:count"], [1])), ("/GrpcFeatureServer/Push", contract.PushRequest())):
        with pytest.raises(grpc.RpcError) as refused:
            feast_server.call(path, request, reader)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
