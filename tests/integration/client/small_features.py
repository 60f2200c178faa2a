"""The feature store of the small mesh: it answers as it is told, and keeps nothing but what was asked."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2 as jobs
from mlops.features.v1 import feature_job_service_pb2_grpc as jobs_grpc
from mlops.features.v1 import feature_serving_service_pb2 as serving
from mlops.features.v1 import feature_serving_service_pb2_grpc as serving_grpc
from mlops.features.v1 import feature_store_service_pb2 as store
from mlops.features.v1 import feature_store_service_pb2_grpc as store_grpc
from mlops.features.v1 import feature_view_pb2 as views

from tests.integration.client.small_mesh import PAGE, Scene, refuse

ID = "5b9c1b4e-7d8e-4a9e-9d0e-3f0b3a0f2c22"
MOMENT = "2026-11-27T12:00:00Z"
ETAG = "etag-1"
ITEMS = 5


def join_keys_missing() -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="SPINE_COLUMN_MISSING", domain="mlmesh"))
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="labels has no column [user_id]", details=[detail])


class SmallStore(store_grpc.FeatureStoreServiceServicer):
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        online = views.OnlineState(dataset_version=3, written_rows=7)
        online.materialize_time.FromJsonString(MOMENT)
        self.view = views.FeatureView(name="activity", version=2, dataset="activity", creator="ada", etag=ETAG, online=online)
        self.view.create_time.FromJsonString(MOMENT)
        self.view.spec.entities.append("user")
        self.view.spec.dataset.dataset = "activity"
        self.view.spec.event_time_column = "time"
        self.view.spec.features.add(name="clicks", type="int64", description="[bold]Clicks[/]")
        self.view.spec.max_age.FromJsonString("604800s")
        self.service = views.FeatureService(name="fraud", version=2, creator="ada", etag=ETAG)
        self.service.spec.selections.add(view="activity", version=2, features=["clicks"], prefix="u_")
        self.service.spec.request_inputs.add(name="amount", type="float64")
        self.service.spec.on_demand_features.add(name="ratio", expression="amount / u_clicks", type="float64")

    def CreateEntity(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateEntity", request)
        return views.Entity(name=request.name, join_keys=request.join_keys, labels=request.labels)

    def GetEntity(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetEntity", request)
        if request.name != "user":
            refuse(context, code_pb2.NOT_FOUND, f"there is no entity {request.name}", "ENTITY_NOT_FOUND")
        return views.Entity(name="user", join_keys=[views.JoinKey(name="user_id", type="int64")])

    def ListEntities(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListEntities", request)
        start, following = _page(request)
        found = [views.Entity(name=f"e{number}") for number in range(start, min(start + PAGE, ITEMS))]
        return store.ListEntitiesResponse(entities=found, next_page_token=following)

    def UpdateEntity(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "UpdateEntity", request)
        return request.entity

    def DeleteEntity(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DeleteEntity", request)
        return empty_pb2.Empty()

    def CreateFeatureView(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateFeatureView", request)
        return views.FeatureView(name=request.name, spec=request.spec, version=1, dataset="activity")

    def GetFeatureView(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetFeatureView", request)
        return self.view

    def ListFeatureViews(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListFeatureViews", request)
        start, following = _page(request)
        found = [views.FeatureView(name=f"v{number}") for number in range(start, min(start + PAGE, ITEMS))]
        return store.ListFeatureViewsResponse(feature_views=found, next_page_token=following)

    def UpdateFeatureView(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "UpdateFeatureView", request)
        if request.feature_view.etag not in ("", ETAG):
            refuse(context, code_pb2.ABORTED, "it has changed", "ETAG_MISMATCH")
        return request.feature_view

    def DeleteFeatureView(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DeleteFeatureView", request)
        return empty_pb2.Empty()

    def ListFeatureViewVersions(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListFeatureViewVersions", request)
        return store.ListFeatureViewVersionsResponse(versions=[views.FeatureViewVersion(version=2), views.FeatureViewVersion(version=1)])

    def GetFeatureViewLineage(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetFeatureViewLineage", request)
        return store.FeatureViewLineage(
            datasets=[store.DatasetLineage(dataset="activity", version=3, input_datasets=["raw"])],
            services=[store.ServiceLineage(service="fraud", version=2, view_version=2)],
            training_sets=[store.TrainingSetLineage(id=ID, dataset="training", dataset_version=0, view_version=2)],
            models=[store.ModelLineage(model="fraud-net", version=4, training_set_id=ID)],
        )

    def GetFeatureViewStatistics(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetFeatureViewStatistics", request)
        clicks = store.FeatureStatistics(feature="clicks", null_fraction=0.25, mean=3.5, population_stability_index=0.4)
        answer = store.FeatureViewStatistics(version=2, dataset="activity", dataset_version=3, row_count=8, features=[clicks])
        answer.newest_event_time.FromJsonString(MOMENT)
        answer.event_age.FromJsonString("3600.4s")
        return answer

    def CreateFeatureService(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateFeatureService", request)
        return views.FeatureService(name=request.name, spec=request.spec, version=1)

    def GetFeatureService(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetFeatureService", request)
        return self.service

    def ListFeatureServices(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListFeatureServices", request)
        return store.ListFeatureServicesResponse(feature_services=[self.service])

    def UpdateFeatureService(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "UpdateFeatureService", request)
        return request.feature_service

    def DeleteFeatureService(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DeleteFeatureService", request)
        return empty_pb2.Empty()

    def ListFeatureServiceVersions(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListFeatureServiceVersions", request)
        versions = [views.FeatureServiceVersion(version=number, spec=self.service.spec) for number in (2, 1)]
        return store.ListFeatureServiceVersionsResponse(versions=versions)


class SmallServing(serving_grpc.FeatureServingServiceServicer):
    """It knows what there is of user 7, and of nobody else."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def ServeFeatures(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ServeFeatures", request)
        known = [number == 7 for number in request.entities["user_id"].int64_values.values]
        clicks = serving.ServedFeature(name="clicks", type="int64", view="activity", version=2)
        clicks.values.int64_values.values.extend(3 if one else 0 for one in known)
        ratio = serving.ServedFeature(name="ratio", type="float64")
        ratio.values.double_values.values.extend(0.5 for _ in known)
        statuses = [serving.VALUE_STATUS_PRESENT if one else serving.VALUE_STATUS_NOT_FOUND for one in known]
        for feature in (clicks, ratio):
            feature.statuses.extend(statuses)
        if request.include_event_times:
            for one in known:
                clicks.event_times.add().FromJsonString(MOMENT if one else "1970-01-01T00:00:00Z")
        return serving.ServeFeaturesResponse(feature_service_version=2, features=[clicks, ratio])

    def PushFeatures(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "PushFeatures", request)
        is_offline = request.target != serving.PUSH_TARGET_ONLINE
        return serving.PushFeaturesResponse(version=2, written_rows=1, kept_newer_rows=1, ingestion_id="i-1" if is_offline else "")


class SmallJobs(jobs_grpc.FeatureJobServiceServicer):
    """A job goes through `states`, one a look, and stays in the last."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.states = ["SUCCEEDED"]
        self.spec = jobs.TrainingSetSpec(feature_service="fraud", dataset="training")

    def CreateTrainingSet(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateTrainingSet", request)
        self.spec = request.spec
        return self._training_set("" if request.validate_only else ID)

    def GetTrainingSet(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetTrainingSet", request)
        return self._training_set(ID)

    def ListTrainingSets(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListTrainingSets", request)
        return jobs.ListTrainingSetsResponse(training_sets=[self._training_set(ID)])

    def CancelTrainingSet(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CancelTrainingSet", request)
        return jobs.TrainingSet(id=request.id, state=job_pb2.JOB_STATE_CANCELLING)

    def MaterializeFeatureView(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "MaterializeFeatureView", request)
        return self._materialization()

    def GetMaterialization(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetMaterialization", request)
        return self._materialization()

    def ListMaterializations(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListMaterializations", request)
        return jobs.ListMaterializationsResponse(materializations=[self._materialization()])

    def CancelMaterialization(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CancelMaterialization", request)
        return jobs.Materialization(id=request.id, view="activity", state=job_pb2.JOB_STATE_CANCELLING)

    def _state(self) -> job_pb2.JobState:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return job_pb2.JobState.Value(f"JOB_STATE_{state}")  # type: ignore[return-value]

    def _training_set(self, identifier: str) -> jobs.TrainingSet:
        made = jobs.TrainingSet(id=identifier, spec=self.spec, state=self._state(), spine_version=1, creator="ada")
        made.create_time.FromJsonString(MOMENT)
        made.inputs.add(view="activity", version=2, dataset="activity", dataset_version=3)
        if made.state == job_pb2.JOB_STATE_SUCCEEDED:
            made.dataset_version, made.row_count = 0, 9
            made.leak_report.add(view="activity", rows=9, changed_rows=4, features=[jobs.FeatureLeaks(feature="clicks", changed_rows=4)])
            made.on_demand_replay.add(feature="ratio", rows=9)
        if made.state == job_pb2.JOB_STATE_FAILED:
            made.error.CopyFrom(join_keys_missing())
        return made

    def _materialization(self) -> jobs.Materialization:
        found = jobs.Materialization(id=ID, view="activity", version=2, mode=jobs.MATERIALIZE_MODE_INCREMENTAL, state=self._state())
        if found.state == job_pb2.JOB_STATE_SUCCEEDED:
            found.effective_mode = jobs.MATERIALIZE_MODE_FULL
            found.dataset_version, found.read_rows, found.written_rows = 3, 9, 7
        if found.state == job_pb2.JOB_STATE_FAILED:
            found.error.CopyFrom(join_keys_missing())
        return found


class SmallFeatures:
    """The three services.

    Args:
        scene: What they see.
    """

    def __init__(self, scene: Scene) -> None:
        self.store = SmallStore(scene)
        self.serving = SmallServing(scene)
        self.jobs = SmallJobs(scene)

    def register(self, server: grpc.Server) -> None:
        store_grpc.add_FeatureStoreServiceServicer_to_server(self.store, server)
        serving_grpc.add_FeatureServingServiceServicer_to_server(self.serving, server)
        jobs_grpc.add_FeatureJobServiceServicer_to_server(self.jobs, server)


def _page(request: Any) -> tuple[int, str]:
    start = int(request.page_token or 0)
    return start, str(start + PAGE) if start + PAGE < ITEMS else ""
