"""The feature store over a real connection to a mesh that answers as it is told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta

import grpc
import mlmesh
import mlmesh.sync.features
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlmesh import errors
from mlmesh.features import select
from mlops.features.v1 import feature_job_service_pb2 as jobs
from mlops.features.v1 import feature_serving_service_pb2 as serving

from tests.integration.client.small_features import ETAG, ID, SmallFeatures
from tests.integration.client.small_mesh import API_KEY, Scene, serve


@pytest.fixture
def features(scene: Scene) -> SmallFeatures:
    return SmallFeatures(scene)


@pytest.fixture
def url(scene: Scene, features: SmallFeatures) -> Iterator[str]:
    server, address = serve(scene, features.register)
    yield address
    server.stop(None).wait()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(mlmesh.sync.features, "pause", taken.append)
    return taken


class TestDefinitions:
    def test_an_entity_is_made_of_the_types_of_its_keys(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        made = mesh.features.create_entity("user", {"user_id": "int64", "shop": "string"}, labels={"team": "a"}, project="other")
        assert (made.join_keys, made.labels) == ({"user_id": "int64", "shop": "string"}, {"team": "a"})
        (request,) = scene.requests["CreateEntity"]
        assert (request.project, bool(uuid.UUID(request.request_id))) == ("other", True)

    def test_a_view_is_made_in_pieces_or_as_the_contract_has_it(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        made = mesh.features.create_view(
            "activity", entities="user", dataset="activity", event_time="time", features=["clicks"], max_age=timedelta(days=7)
        )
        mesh.features.create_feature_view("again", made.spec, validate_only=True)
        first, second = scene.requests["CreateFeatureView"]
        assert first.spec == second.spec
        assert second.validate_only

    def test_a_part_of_a_view_is_changed_against_what_was_read(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        changed = mesh.features.update_view("activity", features={"clicks": "int64", "spend": "float64"}, max_age=timedelta(0))
        assert changed.features == {"clicks": "int64", "spend": "float64"}
        (request,) = scene.requests["UpdateFeatureView"]
        assert (request.feature_view.etag, list(request.update_mask.paths)) == (ETAG, ["spec"])
        assert (request.feature_view.spec.dataset.dataset, request.feature_view.spec.HasField("max_age")) == ("activity", False)

    def test_only_what_is_given_of_a_view_changes(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.features.update_feature_view("activity", description="", labels={}, project="other")
        (request,) = scene.requests["UpdateFeatureView"]
        assert (list(request.update_mask.paths), request.feature_view.project) == (["description", "labels"], "other")
        with pytest.raises(errors.InvalidArgument, match="nothing to change"):
            mesh.features.update_feature_view("activity")
        with pytest.raises(errors.Aborted):
            mesh.features.update_feature_view("activity", description="", etag="older")

    def test_a_part_of_a_service_is_changed_against_what_was_read(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.features.update_service("fraud", on_demand={})
        (request,) = scene.requests["UpdateFeatureService"]
        spec = request.feature_service.spec
        assert (request.feature_service.etag, spec.selections[0].view, len(spec.on_demand_features)) == (ETAG, "activity", 0)

    def test_views_are_searched_page_by_page(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        found = mesh.features.list_feature_views("click", filter='entity = "user"').to_list()
        assert [view.name for view in found] == ["v0", "v1", "v2", "v3", "v4"]
        asked = [(one.query, one.filter, one.page_token) for one in scene.requests["ListFeatureViews"]]
        assert asked == [("click", 'entity = "user"', ""), ("click", 'entity = "user"', "3")]

    def test_lineage_and_statistics_are_values(self, mesh: mlmesh.Mesh) -> None:
        lineage = mesh.features.get_feature_view_lineage("activity")
        assert (lineage.datasets[0].input_datasets, lineage.models[0].model) == (("raw",), "fraud-net")
        statistics = mesh.features.get_feature_view_statistics("activity", baseline_version=0)
        assert (statistics.event_age, statistics.features[0].mean) == (timedelta(seconds=3600.4), 3.5)

    def test_what_does_not_exist_is_told(self, mesh: mlmesh.Mesh) -> None:
        with pytest.raises(errors.NotFound, match="no entity nobody") as raised:
            mesh.features.get_entity("nobody")
        assert raised.value.reason == "ENTITY_NOT_FOUND"


class TestValues:
    def test_features_of_a_service_are_served(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        found = mesh.features.serve("fraud", {"user_id": [7, 8]}, inputs={"amount": np.array([1.5, 2])}, version=2, project="other")
        assert (found["clicks"], found.statuses("clicks")) == ([3, None], ["present", "not_found"])
        assert (found.row_count, found.feature_service_version) == (2, 2)
        (request,) = scene.requests["ServeFeatures"]
        assert (request.feature_service, request.feature_service_version, request.project) == ("fraud", 2, "other")
        assert list(request.request_inputs["amount"].double_values.values) == [1.5, 2]

    def test_a_list_names_views(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        found = mesh.features.serve([select("activity", ["clicks"]), "week"], pd.DataFrame({"user_id": [7]}), include_event_times=True)
        (event_time,) = found.event_times("clicks")
        assert event_time is not None
        (request,) = scene.requests["ServeFeatures"]
        assert (request.feature_service, [one.view for one in request.selections]) == ("", ["activity", "week"])

    def test_rows_are_pushed_once(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        scene.failures["PushFeatures"] = [grpc.StatusCode.UNAVAILABLE]
        done = mesh.features.push("clicks", [{"user_id": 7, "clicks": 3}])
        assert (done.written_rows, done.kept_newer_rows, done.ingestion_id) == (1, 1, "i-1")
        first, second = scene.requests["PushFeatures"]
        assert first == second
        assert (first.rows.rows[0]["clicks"], first.target) == (3, serving.PUSH_TARGET_ONLINE_AND_OFFLINE)

    def test_tables_are_pushed_as_arrow(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert mesh.features.push("clicks", pa.table({"user_id": [7]}), offline=False, version=2).ingestion_id == ""
        (request,) = scene.requests["PushFeatures"]
        assert pa.ipc.open_stream(request.arrow_stream).read_all().num_rows == 1
        assert (request.target, request.version) == (serving.PUSH_TARGET_ONLINE, 2)

    def test_what_can_be_told_here_is_not_sent(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        with pytest.raises(errors.InvalidArgument, match="'user_id' has no value in some rows"):
            mesh.features.serve("fraud", {"user_id": [7, None]})
        assert scene.calls["ServeFeatures"] == 0


class TestTrainingSets:
    def test_one_is_asked_for_and_waited_for(self, mesh: mlmesh.Mesh, scene: Scene, features: SmallFeatures, pauses: list[float]) -> None:
        features.jobs.states = ["QUEUED", "RUNNING", "SUCCEEDED"]
        made = mesh.features.training_set("fraud", spine=("labels", 1), label_time="time", dataset="training", project="other")
        assert (made.id, made.dataset, made.dataset_version, made.row_count) == (ID, "training", 0, 9)
        assert (made.leak_report[0].features[0].changed_rows, made.on_demand_replay[0].different_rows) == (4, 0)
        (request,) = scene.requests["CreateTrainingSet"]
        assert (request.project, request.spec.spine.version, request.spec.spine.label_time_column) == ("other", 1, "time")
        assert {looked.project for looked in scene.requests["GetTrainingSet"]} == {"other"}
        assert len(pauses) == 2

    def test_whoever_does_not_wait_is_answered_at_once(self, mesh: mlmesh.Mesh, scene: Scene, features: SmallFeatures) -> None:
        features.jobs.states = ["QUEUED"]
        made = mesh.features.training_set(["activity"], spine="labels", label_time="time", dataset="training", wait=False)
        assert (made.state, scene.calls["GetTrainingSet"]) == ("queued", 0)

    def test_a_failure_is_raised_with_its_reason_and_the_training_set(
        self, mesh: mlmesh.Mesh, features: SmallFeatures, pauses: list[float]
    ) -> None:
        features.jobs.states = ["RUNNING", "FAILED"]
        with pytest.raises(errors.FeatureJobFailed, match="labels has no column") as raised:
            mesh.features.training_set("fraud", spine="labels", label_time="time", dataset="training")
        assert (raised.value.reason, raised.value.job.id) == ("SPINE_COLUMN_MISSING", ID)

    def test_whoever_runs_out_of_patience_is_told_that_it_goes_on(self, mesh: mlmesh.Mesh, features: SmallFeatures) -> None:
        features.jobs.states = ["RUNNING"]
        with pytest.raises(errors.FeatureJobUnfinished, match=f"{ID} is still running; it goes on"):
            mesh.features.wait_for_training_set(ID, timeout_s=0.15)

    def test_one_that_was_made_can_be_made_again(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        made = mesh.features.training_set("fraud", spine="labels", label_time="time", dataset="training")
        mesh.features.create_training_set(made.spec, validate_only=True)
        first, second = scene.requests["CreateTrainingSet"]
        assert first.spec == second.spec


class TestMaterializations:
    def test_one_is_asked_for_and_waited_for(self, mesh: mlmesh.Mesh, scene: Scene, features: SmallFeatures, pauses: list[float]) -> None:
        features.jobs.states = ["RUNNING", "SUCCEEDED"]
        done = mesh.features.materialize("activity")
        assert (done.mode, done.effective_mode, done.written_rows, done.dataset_version) == ("incremental", "full", 7, 3)
        assert scene.requests["MaterializeFeatureView"][0].mode == jobs.MATERIALIZE_MODE_INCREMENTAL
        assert len(pauses) == 1

    def test_a_cancelled_one_is_not_taken_for_a_successful_one(self, mesh: mlmesh.Mesh, features: SmallFeatures) -> None:
        features.jobs.states = ["CANCELLED"]
        with pytest.raises(errors.FeatureJobFailed, match=f"materialization {ID} of activity was cancelled"):
            mesh.features.materialize("activity", mode="full")

    def test_a_mesh_that_goes_away_meanwhile_leaves_its_name(
        self, mesh: mlmesh.Mesh, scene: Scene, features: SmallFeatures, pauses: list[float]
    ) -> None:
        features.jobs.states = ["RUNNING"]
        scene.failures["GetMaterialization"] = [grpc.StatusCode.INTERNAL]
        with pytest.raises(errors.Internal) as raised:
            mesh.features.materialize("activity")
        assert raised.value.metadata["job_id"] == ID


def test_a_notebook_that_awaits_has_the_same(url: str, features: SmallFeatures) -> None:
    async def served() -> list[object]:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            found = await mesh.features.serve("fraud", {"user_id": 7})
            done = await mesh.features.materialize("activity")
            views = await mesh.features.list_feature_views().to_list()
            return [found["clicks"], done.state, len(views)]

    assert asyncio.run(served()) == [[3], "succeeded", 5]
