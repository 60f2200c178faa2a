"""The feature store, over REST as a user calls it, and once over gRPC; more is in tests/integration/features."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1.feature_serving_service_pb2_grpc import FeatureServingServiceStub

from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

PATIENCE_S = 180.0
FEATURES = "/api/v1/features"
NOW = datetime.now(UTC).replace(microsecond=0)
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
PRESENT, NOT_FOUND, TOO_OLD = "VALUE_STATUS_PRESENT", "VALUE_STATUS_NOT_FOUND", "VALUE_STATUS_OUTSIDE_MAX_AGE"


def ago(**length: float) -> str:
    return (NOW - timedelta(**length)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Shop:
    """What shoppers did, as features; `name` is in the name of everything that these tests make."""

    mesh: WholeMesh
    name: str

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.mesh.request(method, path, **({} if body is None else {"json": body}), **more)

    def answer(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answered = self.call(method, path, body, **more)
        assert answered.status_code == 200, answered.text
        return answered.json()

    def ingest(self, dataset: str, rows: list[dict[str, Any]]) -> None:
        body = {"dataset": dataset, "source": {"rows": {"rows": rows}}, "wait": "30s"}
        ingested = self.answer("POST", "/api/v1/data/ingest", body)
        assert ingested["state"] == "JOB_STATE_SUCCEEDED", ingested

    def ended(self, jobs: str, job_id: str) -> Any:
        path = f"{FEATURES}/{jobs}/{job_id}"
        return eventually(lambda: found if (found := self.answer("GET", path))["state"] in ENDED else None, PATIENCE_S)

    def materialize(self, view: str, **body: Any) -> Any:
        ended = self.ended("materializations", self.answer("POST", f"{FEATURES}/{view}:materialize", body)["id"])
        assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
        return ended

    def serve(self, shoppers: list[int], **body: Any) -> dict[str, Any]:
        """Features by name."""
        asked = {"entities": {"shopper_id": {"int64_values": {"values": shoppers}}}, **body}
        return {each["name"]: each for each in self.answer("POST", f"{FEATURES}/serve", asked)["features"]}

    def service(self, amounts: list[float], **body: Any) -> dict[str, Any]:
        inputs = {"amount": {"double_values": {"values": amounts}}}
        return {"feature_service": self.name, "request_inputs": inputs, **body}

    @property
    def view(self) -> dict[str, Any]:
        """The specification of the view."""
        features = [{"name": "clicks"}, {"name": "money", "column": "spend", "type": "float32"}]
        times = {"event_time_column": "time", "write_time_column": "written", "max_age": "604800s"}
        return {"entities": [self.name], "dataset": {"dataset": self.name}, "features": features, **times}


@pytest.fixture(scope="module")
def shop(mesh: WholeMesh) -> Shop:
    """Two datasets, an entity, a view that is materialised, and a service."""
    shop = Shop(mesh, f"shop_{uuid.uuid4().hex[:8]}")
    late = {"shopper_id": 7, "time": ago(days=2), "written": ago(days=1), "clicks": 5, "spend": 32.5}
    rows = [
        {"shopper_id": 7, "time": ago(days=3), "written": ago(days=3), "clicks": 3, "spend": 20.5},
        late,
        {"shopper_id": 8, "time": ago(days=1), "written": ago(days=1), "clicks": 1, "spend": 4.5},
        {"shopper_id": 9, "time": ago(days=30), "written": ago(days=30), "clicks": 2, "spend": 1.5},
    ]
    shop.ingest(shop.name, rows)
    labels = [{"shopper_id": 7, "time": ago(hours=hours), "amount": 65.5, "left": hours > 30} for hours in (36, 1)]
    shop.ingest(f"{shop.name}_labels", labels)
    shop.answer("POST", f"{FEATURES}/entities", {"name": shop.name, "join_keys": [{"name": "shopper_id", "type": "int64"}]})
    shop.answer("POST", FEATURES, {"name": shop.name, "spec": shop.view, "labels": {"team": shop.name}})
    shop.materialize(shop.name)
    spec = {
        "selections": [{"view": shop.name, "prefix": "s_"}],
        "request_inputs": [{"name": "amount", "type": "float64"}],
        "on_demand_features": [{"name": "ratio", "expression": "amount / s_money", "type": "float64"}],
    }
    shop.answer("POST", f"{FEATURES}/services", {"name": shop.name, "spec": spec})
    return shop


def test_a_view_is_found_served_pushed_to_and_materialised(shop: Shop) -> None:
    found = shop.answer("GET", FEATURES, params={"query": "MONEY", "filter": f'labels.team = "{shop.name}" AND entity = "{shop.name}"'})
    served = shop.serve([7, 9, 10], **shop.service([65.0, 1.0, 1.0], include_event_times=True))
    row = {"shopper_id": 10, "time": ago(minutes=1), "written": ago(minutes=1), "clicks": 11, "spend": 2.0}
    push = {"rows": {"rows": [row]}, "request_id": str(uuid.uuid4())}
    pushed, repeated = (shop.answer("POST", f"{FEATURES}/{shop.name}:push", push) for _ in range(2))
    eventually(lambda: shop.answer("GET", f"/api/v1/datasets/{shop.name}")["row_count"] == "5", PATIENCE_S)

    done = shop.materialize(shop.name)
    everything = shop.materialize(shop.name, mode="MATERIALIZE_MODE_FULL")

    assert [each["name"] for each in found["feature_views"]] == [shop.name]
    assert [each["type"] for each in found["feature_views"][0]["spec"]["features"]] == ["int64", "float32"]
    assert served["s_clicks"]["values"] == {"int64_values": {"values": ["5", "0", "0"]}}
    assert served["s_clicks"]["statuses"] == [PRESENT, TOO_OLD, NOT_FOUND]
    assert served["s_clicks"]["event_times"] == [ago(days=2), ago(days=30), "1970-01-01T00:00:00Z"]
    assert (served["ratio"]["view"], served["ratio"]["values"]["double_values"]["values"][0]) == ("", 2)
    assert pushed == repeated
    assert (pushed["written_rows"], pushed["kept_newer_rows"]) == ("1", "0")
    assert (done["effective_mode"], done["read_rows"], done["kept_newer_rows"]) == ("MATERIALIZE_MODE_INCREMENTAL", "1", "1")
    assert (everything["effective_mode"], everything["read_rows"]) == ("MATERIALIZE_MODE_FULL", "5")
    after = shop.serve([7, 10], selections=[{"view": shop.name, "features": ["clicks"]}])
    assert after["clicks"]["values"] == {"int64_values": {"values": ["5", "11"]}}
    listed = shop.answer("GET", f"{FEATURES}/materializations", params={"filter": f'view = "{shop.name}"', "page_size": "1"})
    assert ([each["id"] for each in listed["materializations"]], bool(listed["next_page_token"])) == ([everything["id"]], True)


def test_a_training_set_knows_what_was_known_and_lineage_reaches_the_model_that_was_trained_on_it(shop: Shop) -> None:
    dataset = f"{shop.name}_training"
    spine = {"dataset": f"{shop.name}_labels", "label_time_column": "time", "columns": ["left", "amount"]}
    spec = {"spine": spine, "feature_service": shop.name, "dataset": dataset, "include_statuses": True}
    foreseen = shop.answer("POST", f"{FEATURES}/historical", {"spec": spec, "validate_only": True})

    made = shop.ended("historical", shop.answer("POST", f"{FEATURES}/historical", {"spec": spec})["id"])
    version = made["dataset_version"]
    shop.answer("POST", "/api/v1/models", {"name": shop.name})
    shop.answer("POST", f"/api/v1/models/{shop.name}/versions", {"lineage": {"datasets": [{"name": f"{dataset}@{version}"}]}})
    lineage = shop.answer("GET", f"{FEATURES}/{shop.name}/lineage")

    assert (foreseen["id"], foreseen["inputs"][0]["dataset"]) == ("", shop.name)
    assert (made["state"], made["row_count"]) == ("JOB_STATE_SUCCEEDED", "2"), made
    (leaks,) = made["leak_report"]
    assert (leaks["view"], leaks["changed_rows"], leaks["not_found_rows"]) == (shop.name, "1", "0")
    assert made["on_demand_replay"] == [{"feature": "ratio", "rows": "2", "different_rows": "0"}]
    rows = shop.answer("GET", f"/api/v1/datasets/{dataset}:preview")["rows"]
    # What happened two days ago was written yesterday: nobody knew it 36 hours ago.
    assert {row["left"]: row["s_clicks"] for row in rows} == {True: 3, False: 5}
    assert {row[f"{shop.name}__status"] for row in rows} == {"PRESENT"}
    assert lineage["services"] == [{"service": shop.name, "version": "1", "view_version": "1"}]
    assert lineage["training_sets"] == [{"id": made["id"], "dataset": dataset, "dataset_version": version, "view_version": "1"}]
    assert lineage["models"] == [{"model": shop.name, "version": "1", "training_set_id": made["id"]}]
    listed = shop.answer("GET", f"{FEATURES}/historical", params={"filter": f'dataset = "{dataset}" AND state = "SUCCEEDED"'})
    assert [each["id"] for each in listed["training_sets"]] == [made["id"]]


def test_a_change_is_a_version_and_the_service_keeps_the_one_before(shop: Shop) -> None:
    shop.answer("PATCH", f"{FEATURES}/{shop.name}", {"description": "What shoppers did"})
    changed = shop.answer("PATCH", f"{FEATURES}/{shop.name}", {"spec": {**shop.view, "max_age": "86400s"}})
    stale = shop.call("PATCH", f"{FEATURES}/{shop.name}", {"description": "Another", "etag": "0" * 32})

    versions = shop.answer("GET", f"{FEATURES}/{shop.name}/versions")["versions"]
    statistics = shop.answer("GET", f"{FEATURES}/{shop.name}/statistics")
    assert (changed["version"], [each["version"] for each in versions]) == ("2", ["2", "1"])
    assert (stale.status_code, reason_of(stale)) == (409, "ETAG_MISMATCH"), stale.text
    assert shop.serve([7], **shop.service([65.0]))["s_clicks"]["statuses"] == [PRESENT]
    assert shop.serve([7], selections=[{"view": shop.name}])["clicks"]["statuses"] == [NOT_FOUND]
    assert [each["feature"] for each in statistics["features"]] == ["clicks", "money"]
    assert (statistics["version"], statistics["baseline_version"], "online_lag" in statistics) == ("2", "1", False)


def test_a_view_that_is_computed_is_computed_before_and_cancelled_with_its_job(shop: Shop) -> None:
    def computed(sql: str) -> dict[str, Any]:
        source = {"inputs": [{"name": "t", "dataset": shop.name}], "sql": sql}
        return {"entities": [shop.name], "computed": source, "event_time_column": "time", "features": [{"name": "total"}]}

    good, endless = f"{shop.name}_days", f"{shop.name}_endless"
    shop.answer(
        "POST",
        FEATURES,
        {"name": good, "spec": computed("SELECT shopper_id, max(time) AS time, sum(clicks)::BIGINT AS total FROM t GROUP BY 1")},
    )
    # More rows than anybody would wait for.
    others = ", ".join(f"t AS t{number}" for number in range(16))
    many = f"SELECT t0.shopper_id, t0.time, sum(t0.clicks % 7)::BIGINT AS total FROM {others} GROUP BY 1, 2"
    shop.answer("POST", FEATURES, {"name": endless, "spec": computed(many)})

    done = shop.materialize(good)
    begun = shop.answer("POST", f"{FEATURES}/{endless}:materialize", {})
    same = shop.answer("POST", f"{FEATURES}/{endless}:materialize", {"mode": "MATERIALIZE_MODE_FULL"})
    job = eventually(lambda: shop.answer("GET", f"{FEATURES}/materializations/{begun['id']}")["processing_job_id"], PATIENCE_S)
    shop.answer("POST", f"{FEATURES}/materializations/{begun['id']}:cancel", {})

    assert shop.ended("materializations", begun["id"])["state"] == "JOB_STATE_CANCELLED"
    eventually(lambda: shop.answer("GET", f"/api/v1/processing/jobs/{job}")["state"] == "JOB_STATE_CANCELLED", PATIENCE_S)
    assert (same["id"], bool(done["processing_job_id"])) == (begun["id"], True)
    assert shop.serve([7], selections=[{"view": good}])["total"]["values"] == {"int64_values": {"values": ["8"]}}
    for view in (good, endless):
        pipeline = shop.answer("GET", f"{FEATURES}/{view}")["pipeline"]
        shop.answer("DELETE", f"{FEATURES}/{view}")
        assert shop.call("GET", f"{FEATURES}/{view}").status_code == 404
        assert shop.call("GET", f"/api/v1/processing/pipelines/{pipeline}").status_code == 404


VIEW, SERVE, HISTORY = FEATURES, f"{FEATURES}/serve", f"{FEATURES}/historical"
SHOPPERS = {"shopper_id": {"int64_values": {"values": [7]}}}
Body = Callable[[Shop], Any]
MISTAKES: dict[str, tuple[str, Body, int, str, str]] = {
    "a name of a route": (VIEW, lambda shop: {"name": "historical", "spec": shop.view}, 400, "INVALID_FEATURE_VIEW", "the name of a route"),
    "a name that is taken": (VIEW, lambda shop: {"name": shop.name, "spec": shop.view}, 409, "FEATURE_VIEW_EXISTS", "UpdateFeatureView"),
    "no entity": (VIEW, lambda shop: {"name": "v", "spec": {**shop.view, "entities": ["usr"]}}, 404, "ENTITY_NOT_FOUND", "ListEntities"),
    "no dataset": (
        VIEW,
        lambda shop: {"name": "v", "spec": {**shop.view, "dataset": {"dataset": "nowhere"}}},
        404,
        "DATASET_NOT_FOUND",
        "no dataset 'nowhere'",
    ),
    "no column": (
        VIEW,
        lambda shop: {"name": "v", "spec": {**shop.view, "features": [{"name": "clikcs"}]}},
        400,
        "INVALID_FEATURE_VIEW",
        "spec.features[0].column: dataset",
    ),
    "two sources": (VIEW, lambda shop: {"name": "v", "spec": {**shop.view, "push": {}}}, 400, "MALFORMED_REQUEST", "already set"),
    "no source": (VIEW, lambda _: {"name": "v", "spec": {"event_time_column": "t"}}, 400, "REQUEST_INVALID", "spec.source: exactly one"),
    "an unknown word": (
        f"{FEATURES}/services",
        lambda shop: {
            "name": "s",
            "spec": {
                "selections": [{"view": shop.name}],
                "on_demand_features": [{"name": "r", "expression": "2 * mony", "type": "float64"}],
            },
        },
        400,
        "INVALID_ON_DEMAND_FEATURE",
        "'mony' is no feature",
    ),
    "no service": (
        SERVE,
        lambda _: {"feature_service": "nobody", "entities": SHOPPERS},
        404,
        "FEATURE_SERVICE_NOT_FOUND",
        "ListFeatureServices",
    ),
    "no input": (SERVE, lambda shop: {"feature_service": shop.name, "entities": SHOPPERS}, 400, "INVALID_ENTITIES", "amount (float64)"),
    "no key": (
        SERVE,
        lambda shop: {"selections": [{"view": shop.name}], "entities": {"user": {"int64_values": {"values": [7]}}}},
        400,
        "INVALID_ENTITIES",
        "join key 'shopper_id' is missing",
    ),
    "a key of another type": (
        SERVE,
        lambda shop: {"selections": [{"view": shop.name}], "entities": {"shopper_id": {"string_values": {"values": ["7"]}}}},
        400,
        "INVALID_ENTITIES",
        "comes as int64_values, not as string_values",
    ),
    "no feature": (
        SERVE,
        lambda shop: {"selections": [{"view": shop.name, "features": ["clickz"]}], "entities": SHOPPERS},
        400,
        "INVALID_FEATURE_SELECTION",
        "has no feature 'clickz'; it has clicks, money",
    ),
    "no label time": (
        HISTORY,
        lambda shop: {
            "spec": {"spine": {"dataset": shop.name, "label_time_column": "at"}, "selections": [{"view": shop.name}], "dataset": "t"}
        },
        400,
        "INVALID_SPINE",
        "has no column 'at', the label time",
    ),
    "a training set over its own rows": (
        HISTORY,
        lambda shop: {
            "spec": {
                "spine": {"dataset": f"{shop.name}_labels", "label_time_column": "time"},
                "feature_service": shop.name,
                "dataset": shop.name,
            }
        },
        400,
        "INVALID_TRAINING_SET",
        "would be overwritten",
    ),
    "no view": (f"{FEATURES}/nobody:materialize", lambda _: {}, 404, "FEATURE_VIEW_NOT_FOUND", "no feature view 'nobody'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_reason_and_its_place(shop: Shop, mistake: str) -> None:
    path, body, status, reason, words = MISTAKES[mistake]

    answer = shop.call("POST", path, body(shop))

    assert (answer.status_code, reason_of(answer)) == (status, reason), answer.text
    assert words in answer.json()["message"]


def test_rows_that_are_wrong_are_told_and_none_of_them_is_kept(shop: Shop) -> None:
    good = {"shopper_id": 77, "time": ago(minutes=1), "written": ago(minutes=1), "clicks": 1, "spend": 1.0}

    def refused(**wrong: Any) -> tuple[int, str, str]:
        body = {"rows": {"rows": [good, {key: value for key, value in {**good, **wrong}.items() if value is not None}]}}
        answer = shop.call("POST", f"{FEATURES}/{shop.name}:push", body)
        return answer.status_code, reason_of(answer), answer.json()["message"].partition(":")[0]

    assert refused(clicks="many") == (400, "INVALID_PUSHED_ROWS", "row 1, column 'clicks'")
    assert refused(colour="red") == (400, "INVALID_PUSHED_ROWS", "row 1, column 'colour'")
    assert refused(time=None) == (400, "INVALID_PUSHED_ROWS", "row 1, column 'time'")
    assert refused(shopper_id=None) == (400, "INVALID_PUSHED_ROWS", "row 1, column 'shopper_id'")
    assert refused(time=ago(days=-1)) == (400, "EVENT_TIME_IN_FUTURE", "row 1, column 'time'")
    assert shop.serve([77], selections=[{"view": shop.name, "version": 1}])["clicks"]["statuses"] == [NOT_FOUND]


def test_what_is_used_is_not_deleted(shop: Shop) -> None:
    used_view, used_entity = (shop.call("DELETE", f"{FEATURES}/{path}") for path in (shop.name, f"entities/{shop.name}"))

    assert (used_view.status_code, reason_of(used_view)) == (400, "FEATURE_VIEW_IN_USE"), used_view.text
    assert (used_entity.status_code, reason_of(used_entity)) == (400, "ENTITY_IN_USE"), used_entity.text


def test_a_viewer_looks_and_changes_nothing(shop: Shop) -> None:
    viewer = key_of(shop, "features.definitions.read", "features.values.read", "features.jobs.read")
    training = {
        "spec": {"spine": {"dataset": f"{shop.name}_labels", "label_time_column": "time"}, "feature_service": shop.name, "dataset": "t"}
    }
    row = {"shopper_id": 7, "time": ago(minutes=1), "written": ago(minutes=1), "clicks": 0, "spend": 0.0}

    for path in ("", f"/{shop.name}", f"/{shop.name}/lineage", f"/services/{shop.name}", "/materializations", "/historical"):
        assert shop.call("GET", FEATURES + path, token=viewer).status_code == 200, path
    served = shop.call("POST", f"{FEATURES}/serve", {**shop.service([65.0]), "entities": SHOPPERS}, token=viewer)
    assert served.status_code == 200, served.text
    assert shop.answer("GET", f"{FEATURES}/{shop.name}/lineage", token=viewer)["models"] == []
    for path, body in {
        "/entities": {"name": "e", "join_keys": [{"name": "k", "type": "int64"}]},
        "": {"name": "v", "spec": shop.view},
        "/services": {"name": "s", "spec": {"selections": [{"view": shop.name}]}},
        f"/{shop.name}:push": {"rows": {"rows": [row]}},
        f"/{shop.name}:materialize": {},
        "/historical": training,
    }.items():
        assert shop.call("POST", FEATURES + path, body, token=viewer).status_code == 403, path
    assert shop.call("PATCH", f"{FEATURES}/{shop.name}", {"description": "mine"}, token=viewer).status_code == 403
    assert shop.call("DELETE", f"{FEATURES}/{shop.name}", token=viewer).status_code == 403
    assert shop.call("GET", FEATURES, token=None).status_code == 401


def test_who_may_all_of_features_gets_nothing_done_that_she_may_not_do_herself(shop: Shop) -> None:
    token = key_of(shop, "features.definitions.write", "features.values.write", "features.jobs.write", "features.definitions.read")
    row = {"shopper_id": 7, "time": ago(minutes=1), "written": ago(minutes=1), "clicks": 0, "spend": 0.0}
    training = {
        "spec": {"spine": {"dataset": f"{shop.name}_labels", "label_time_column": "time"}, "feature_service": shop.name, "dataset": "t"}
    }
    computed = {"inputs": [{"name": "t", "dataset": shop.name}], "sql": "SELECT shopper_id, time, clicks FROM t"}
    plan = {"entities": [shop.name], "computed": computed, "event_time_column": "time", "features": [{"name": "clicks"}]}

    for path, body, permission in (
        ("", {"name": "v", "spec": shop.view}, "ingestion.data.read"),
        ("", {"name": "v", "spec": plan}, "ingestion.data.read"),
        (f"/{shop.name}:push", {"rows": {"rows": [row]}}, "ingestion.data.write"),
        ("/historical", training, "ingestion.data.read"),
    ):
        answer = shop.call("POST", FEATURES + path, body, token=token)
        assert (answer.status_code, reason_of(answer)) == (403, "PERMISSION_DENIED"), answer.text
        assert permission in answer.json()["message"]
    online = shop.answer("POST", f"{FEATURES}/{shop.name}:push", {"rows": {"rows": [row]}, "target": "PUSH_TARGET_ONLINE"}, token=token)
    assert online["ingestion_id"] == ""


def test_over_grpc_the_same_is_served(shop: Shop) -> None:
    request = pb.ServeFeaturesRequest(feature_service=shop.name)
    request.entities["shopper_id"].int64_values.values.extend([8, 10_000])
    request.request_inputs["amount"].double_values.values.extend([9.0, 9.0])
    with shop.mesh.channel() as channel:
        stub = FeatureServingServiceStub(channel)
        answer = stub.ServeFeatures(request, metadata=shop.mesh.bearer(), timeout=30)
        with pytest.raises(grpc.RpcError) as refused:
            stub.ServeFeatures(request, timeout=30)

    clicks, money, ratio = answer.features
    assert (clicks.values.int64_values.values[0], money.values.float_values.values[0], ratio.values.double_values.values[0]) == (
        1,
        4.5,
        2.0,
    )
    assert [pb.ValueStatus.Name(each) for each in clicks.statuses] == [PRESENT, NOT_FOUND]
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    over_rest = shop.serve([8, 10_000], **shop.service([9.0, 9.0]))
    assert {name: each["statuses"] for name, each in over_rest.items()} == {
        each.name: [pb.ValueStatus.Name(status) for status in each.statuses] for each in answer.features
    }


def test_in_the_end_all_of_it_is_deleted_and_the_datasets_stay(shop: Shop) -> None:
    for path in (f"services/{shop.name}", shop.name, f"entities/{shop.name}"):
        shop.answer("DELETE", f"{FEATURES}/{path}")

    gone = shop.call("POST", f"{FEATURES}/serve", {"selections": [{"view": shop.name}], "entities": SHOPPERS})
    assert (gone.status_code, reason_of(gone)) == (404, "FEATURE_VIEW_NOT_FOUND"), gone.text
    assert shop.answer("GET", FEATURES, params={"filter": f'labels.team = "{shop.name}"'})["feature_views"] == []
    assert int(shop.answer("GET", f"/api/v1/datasets/{shop.name}")["row_count"]) >= 4


def reason_of(answer: httpx.Response) -> str:
    return next((detail["reason"] for detail in answer.json().get("details", []) if "domain" in detail), "")


def key_of(shop: Shop, *scopes: str) -> str:
    made = shop.answer("POST", "/api/v1/auth/keys", {"display_name": f"key of {shop.name}", "scopes": list(scopes)})
    return str(made["secret"])
