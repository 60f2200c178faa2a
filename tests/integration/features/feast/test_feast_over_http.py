"""What Feast's own client posts, and how it is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import ViewVersion
from servers.features.online import JoinKey, JoinKeyType
from tests.integration.features.feast.conftest import FeastServer

AT, LONG_AGO = "2026-11-27T11:00:00.25Z", "2026-11-26T11:00:00Z"
ZERO = "1970-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def clicks(feast_server: FeastServer) -> ViewVersion:
    day = Duration(seconds=86_400 // 2)
    view = feast_server.features.view(
        {"count": "int64", "rate": "float64", "big": "uint64", "photo": "bytes", "words": "list<string>", "price": "decimal(6, 2)"},
        name="clicks",
        push=view_pb.PushSource(),
        max_age=day,
    )
    rows: list[dict[str, Any]] = [
        {"user_id": 1, "at": AT, "count": 7, "rate": 0.5, "big": str(2**64 - 1), "photo": "AP8=", "words": ["a", "b"], "price": "1.50"},
        {"user_id": 2, "at": AT, "rate": "NaN", "words": []},
        {"user_id": 3, "at": LONG_AGO, "count": 1},
    ]
    feast_server.features.push(view, rows)
    return view


def error_of(answer: Any) -> dict[str, Any]:
    """Feast's client reads a text that has JSON in it."""
    error: dict[str, Any] = json.loads(answer.json())
    return error


def test_join_keys_come_first_then_the_features_as_they_were_named(feast_server: FeastServer, clicks: ViewVersion) -> None:
    body = {"features": ["clicks:rate", "clicks:count"], "entities": {"user_id": [1, 2, 3, 4], "not_needed": ["x"]}}

    answer = feast_server.post("/get-online-features", body)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "metadata": {"feature_names": ["user_id", "rate", "count"]},
        "results": [
            {"values": [1, 2, 3, 4], "statuses": ["PRESENT"] * 4, "event_timestamps": [ZERO] * 4},
            {
                "values": [0.5, "NaN", None, None],
                "statuses": ["PRESENT", "PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"],
                "event_timestamps": ["2026-11-27T11:00:00.250Z", "2026-11-27T11:00:00.250Z", LONG_AGO, ZERO],
            },
            {
                "values": [7, None, None, None],
                "statuses": ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"],
                "event_timestamps": ["2026-11-27T11:00:00.250Z", "2026-11-27T11:00:00.250Z", LONG_AGO, ZERO],
            },
        ],
    }


def test_values_are_what_feast_has_for_their_types(feast_server: FeastServer, clicks: ViewVersion) -> None:
    body = {"features": [f"clicks:{name}" for name in ("big", "photo", "words", "price")], "entities": {"user_id": [1]}}

    results = feast_server.post("/get-online-features", body).json()["results"]

    assert [each["values"][0] for each in results] == [1, 2**64 - 1, "AP8=", ["a", "b"], "1.50"]


def test_full_names_have_the_view_and_its_version_as_they_were_named(feast_server: FeastServer, clicks: ViewVersion) -> None:
    body = {
        "features": ["clicks:count", "clicks@v1:rate"],
        "entities": {"user_id": [1]},
        "full_feature_names": True,
        "include_feature_view_version_metadata": True,
    }

    metadata = feast_server.post("/get-online-features", body).json()["metadata"]

    assert metadata == {
        "feature_names": ["user_id", "clicks__count", "clicks@v1__rate"],
        "feature_view_metadata": [{"name": "clicks", "version": 1}],
    }


def test_a_service_is_served_by_its_names_and_what_feast_calls_full_names(feast_server: FeastServer, clicks: ViewVersion) -> None:
    service = feast_server.features.service(
        [
            view_pb.FeatureSelection(view="clicks", version=1, features=["count"]),
            view_pb.FeatureSelection(
                view="clicks", version=1, features=["rate"], prefix="friend__", join_key_names={"user_id": "friend_id"}
            ),
        ],
        [clicks],
        request_inputs=[view_pb.RequestInput(name="more", type="float64")],
        on_demand_features=[view_pb.OnDemandFeature(name="sum", expression="count + more", type="float64")],
    )
    body = {"feature_service": service, "entities": {"friend_id": [1], "user_id": [1], "more": [0.5]}, "features": []}

    short = feast_server.post("/get-online-features", body).json()
    full = feast_server.post("/get-online-features", {**body, "full_feature_names": True}).json()

    assert short["metadata"]["feature_names"] == ["friend_id", "user_id", "count", "rate", "sum"]
    assert full["metadata"]["feature_names"] == ["friend_id", "user_id", "clicks__count", "friend__rate", "sum"]
    assert [each["values"] for each in full["results"]] == [[1], [1], [7], [0.5], [7.5]]
    assert full["results"][4]["event_timestamps"] == [ZERO]


def test_errors_are_the_exceptions_of_feast(feast_server: FeastServer, clicks: ViewVersion) -> None:
    entities = {"user_id": [1]}
    nowhere = feast_server.post("/get-online-features", {"features": ["nowhere:count"], "entities": entities})
    service = feast_server.post("/get-online-features", {"feature_service": "nowhere", "entities": entities})
    twice = feast_server.post("/get-online-features", {"features": ["clicks:count", "clicks@v1:count"], "entities": entities})
    missing = feast_server.post("/get-online-features", {"features": ["clicks:count"], "entities": {}})
    refused = feast_server.post(
        "/get-online-features", {"features": ["clicks:count"], "entities": entities}, grants={"fares": ["features.values.read"]}
    )
    broken = feast_server.post("/get-online-features", [])

    found = [(each.status_code, error_of(each)["class"]) for each in (nowhere, service, twice, missing, refused, broken)]

    assert found == [
        (404, "FeatureViewNotFoundException"),
        (404, "FeatureServiceNotFoundException"),
        (400, "FeatureNameCollisionError"),
        (400, "FeastError"),
        (403, "FeastPermissionError"),
        (400, "FeastError"),
    ]
    assert error_of(missing)["module"] == "feast.errors"
    assert "'user_id' is missing" in error_of(missing)["message"].replace("join key ", "")
    assert error_of(missing)["details"][0]["reason"] == "INVALID_ENTITIES"


def test_the_project_is_that_of_the_path_or_of_the_header(feast_server: FeastServer, clicks: ViewVersion) -> None:
    body, reader = {"features": ["clicks:count"], "entities": {"user_id": [1]}}, {"fares": ["features.values.read"]}

    by_path = feast_server.post("/feast/fares/get-online-features", body, grants=reader)
    by_header = feast_server.post("/get-online-features", body, grants=reader, **{"x-mlmesh-project": "fares"})

    for answer in (by_path, by_header):
        assert (answer.status_code, error_of(answer)["message"].split(";")[0]) == (
            404,
            "there is no feature view 'clicks' in project 'fares'",
        )


def test_what_feasts_client_writes_is_served(feast_server: FeastServer) -> None:
    view = feast_server.features.view(
        {"score": "float64", "seen": "timestamp"},
        keys=(JoinKey("user", JoinKeyType.STRING),),
        name="scores",
        event_time_column="happened",
        write_time_column="written",
        push=view_pb.PushSource(),
    )
    df = {
        "user": ["a", "b"],
        "score": [1.5, None],
        "seen": [1_795_777_200, None],
        "event_timestamp": ["2026-11-27T11:00:00", "2026-11-27T11:00:00.500000"],
        "created": ["2026-11-27T11:30:00", None],
    }

    written = feast_server.post("/write-to-online-store", {"feature_view_name": view.view, "df": df, "allow_registry_cache": False})
    answer = feast_server.post("/get-online-features", {"features": ["scores:score", "scores:seen"], "entities": {"user": ["a", "b"]}})

    assert (written.status_code, written.json()) == (200, None), written.text
    assert [each["values"] for each in answer.json()["results"][1:]] == [[1.5, None], [1_795_777_200, None]]
    assert answer.json()["results"][1]["event_timestamps"] == ["2026-11-27T11:00:00Z", "2026-11-27T11:00:00.500Z"]


def test_a_push_reaches_every_view_of_its_source(feast_server: FeastServer) -> None:
    first = feast_server.features.view({"visits": "int64"}, name="visits")
    second = feast_server.features.view({"pages": "int64"}, name="pages")
    for view in (first, second):
        feast_server.label(view.view_id, "web")
    df = {"user_id": [5], "visits": [2], "pages": [9], "at": ["2026-11-27 11:00:00"], "elsewhere": ["x"]}

    pushed = feast_server.post("/push", {"push_source_name": "web", "df": df, "to": "online_and_offline"})
    answer = feast_server.post("/get-online-features", {"features": ["visits:visits", "pages:pages"], "entities": {"user_id": [5]}})

    assert pushed.status_code == 200, pushed.text
    assert [each["values"] for each in answer.json()["results"]] == [[5], [2], [9]]
    assert [taken[0] for taken in feast_server.features.ingestion.taken[-2:]] == ["pages_rows", "visits_rows"]  # type: ignore[attr-defined]


def test_a_push_that_cannot_be_is_refused(feast_server: FeastServer, clicks: ViewVersion) -> None:
    nowhere = feast_server.post("/push", {"push_source_name": "nowhere", "df": {"user_id": [1]}})
    uneven = feast_server.post("/push", {"push_source_name": "clicks", "df": {"user_id": [1, 2], "count": [1]}})
    elsewhere = feast_server.post("/push", {"push_source_name": "clicks", "df": {"user_id": [1]}, "to": "somewhere"})
    reader = feast_server.post("/push", {"push_source_name": "clicks", "df": {}}, grants={"*": ["features.values.read"]})

    assert [each.status_code for each in (nowhere, uneven, elsewhere, reader)] == [404, 400, 400, 403]
    assert error_of(nowhere)["class"] == "PushSourceNotFoundException"
