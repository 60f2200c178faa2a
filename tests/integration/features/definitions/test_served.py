"""Definitions as callers meet them: over the contract, beside real ingestion and processing servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pyarrow as pa
import pytest
from mlops.features.v1 import feature_store_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.features.v1.feature_store_service_pb2_grpc import FeatureStoreServiceStub, add_FeatureStoreServiceServicer_to_server
from mlops.processing.v1 import pipeline_pb2, pipeline_service_pb2
from mlops.processing.v1.pipeline_service_pb2_grpc import PipelineServiceStub

from servers.features.definitions.entities import EntityManagement
from servers.features.definitions.servicer import DefinitionManagement, FeatureStoreServicer
from servers.features.definitions.services import ServiceManagement
from servers.features.definitions.view_sources import ViewSources
from servers.features.definitions.views import ViewManagement
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.settings import FeaturesSettings
from servers.features.store.online_states import OnlineStates
from servers.features.store.opening import open_store
from servers.features.store.revision import Revision
from servers.runtime.server import Registration, build_server
from tests.integration.ingestion.server.served import bearing
from tests.integration.processing.server.conftest import local, mesh
from tests.integration.processing.server.served import Refusal, ServedProcessing, refusal_of

__all__ = ["local", "mesh"]

FLIGHTS = pa.table(
    {
        "carrier": ["UA", "AA"],
        "at": pa.array([datetime(2026, 11, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
        "delay": [1.5, None],
        "seats": pa.array([100, 200], pa.int32()),
    }
)
SQL = 'SELECT carrier, "at", avg(delay) AS delay, count(*) AS flights FROM flights GROUP BY carrier, "at"'


@pytest.fixture(scope="module")
def stub(local: ServedProcessing) -> Iterator[Any]:
    """A caller of definitions who may do everything."""
    folder = local.mesh.folder / uuid.uuid4().hex[:6]
    settings = FeaturesSettings(
        data_dir=folder,
        listen=f"unix:{folder}.sock",
        users_address=f"unix:{local.mesh.folder}/users.sock",
        service_key_file=local.mesh.key_file,
        drain_s=0,
    )
    engine = open_store(settings)
    with grpc.insecure_channel(local.ingestion.server.address) as ingestion, grpc.insecure_channel(local.server.address) as processing:
        sources = ViewSources(IngestionPeer(bearing(ingestion, local.mesh), 5), ProcessingPeer(bearing(processing, local.mesh), 5))
        revision = Revision(engine)
        online = OnlineStates(engine, revision)
        tools: Any = (lambda: datetime.now(UTC), lambda: str(uuid.uuid4()))
        definitions = DefinitionManagement(
            EntityManagement(engine, revision, tools[0]),
            ViewManagement(engine, revision, sources, online, lambda version: None, *tools),
            ServiceManagement(engine, revision, lambda wanted: None, *tools),
        )
        servicer = FeatureStoreServicer(
            definitions,
            online,
            lambda project, name: pb.FeatureViewLineage(services=[pb.ServiceLineage(service=f"{project}/{name}")]),
            lambda project, name, version, baseline: pb.FeatureViewStatistics(version=version or 7, baseline_version=baseline or 0),
        )
        server = build_server(
            settings,
            [Registration(add_FeatureStoreServiceServicer_to_server, servicer)],
            component="features",
            dependencies=[],
            database=engine,
        )
        server.start()
        try:
            with grpc.insecure_channel(server.address) as channel:
                yield FeatureStoreServiceStub(bearing(channel, local.mesh))
        finally:
            server.stop()


@pytest.fixture(scope="module")
def flights(local: ServedProcessing, stub: Any) -> str:
    """A dataset, and the entity that its rows are of."""
    stub.CreateEntity(pb.CreateEntityRequest(name="carrier", join_keys=[view_pb.JoinKey(name="carrier", type="string")]))
    return local.dataset(FLIGHTS)


def refused(call: Callable[[], Any]) -> Refusal:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return refusal_of(error.value)


def spec_of(*features: str, **more: Any) -> view_pb.FeatureViewSpec:
    named = [view_pb.Feature(name=each) for each in features]
    return view_pb.FeatureViewSpec(entities=["carrier"], event_time_column="at", features=named, **more)


def computed(dataset: str, sql: str = SQL, **more: Any) -> view_pb.ComputedSource:
    return view_pb.ComputedSource(inputs=[pipeline_pb2.PipelineInput(name="flights", dataset=dataset)], sql=sql, **more)


def test_an_entity_over_the_contract(stub: Any) -> None:
    request_id = str(uuid.uuid4())
    key = view_pb.JoinKey(name="user_id", type="int64")
    asked = pb.CreateEntityRequest(name="user", join_keys=[key], display_name="User\0", labels={"a": "b"}, request_id=request_id)
    made = stub.CreateEntity(asked)
    assert stub.CreateEntity(asked) == made == stub.GetEntity(pb.GetEntityRequest(name="user"))
    assert (made.display_name, made.creator, dict(made.labels)) == ("User", "tester", {"a": "b"})

    other = view_pb.Entity(name="user", join_keys=[view_pb.JoinKey(name="id", type="int64")])
    assert refused(lambda: stub.UpdateEntity(pb.UpdateEntityRequest(entity=other))).reason == "INVALID_ENTITY"
    named = pb.UpdateEntityRequest(entity=other, update_mask={"paths": ["join_keys"]})
    assert refused(lambda: stub.UpdateEntity(named)).reason == "UPDATE_MASK_INVALID"
    described = view_pb.Entity(name="user", join_keys=[key], description="who", etag=made.etag)
    assert stub.UpdateEntity(pb.UpdateEntityRequest(entity=described)).description == "who"
    assert refused(lambda: stub.DeleteEntity(pb.DeleteEntityRequest(name="user", etag=made.etag))).reason == "ETAG_MISMATCH"
    assert [each.name for each in stub.ListEntities(pb.ListEntitiesRequest(filter='name = "us*"')).entities] == ["user"]
    stub.DeleteEntity(pb.DeleteEntityRequest(name="user"))


def test_a_view_of_a_dataset_has_its_columns_types(stub: Any, flights: str) -> None:
    source = view_pb.DatasetSource(dataset=flights)
    made = stub.CreateFeatureView(pb.CreateFeatureViewRequest(name="plain", spec=spec_of("DELAY", "seats", dataset=source)))
    assert [(each.column, each.type) for each in made.spec.features] == [("delay", "float64"), ("seats", "int32")]
    assert (made.version, made.dataset, made.HasField("online")) == (1, flights, True)

    assert stub.UpdateFeatureView(pb.UpdateFeatureViewRequest(feature_view=made)).etag == made.etag, "what was read is what is there"
    offline = spec_of("delay", dataset=source, offline_only=True)
    asked = pb.UpdateFeatureViewRequest(feature_view=view_pb.FeatureView(name="plain", spec=offline))
    changed = stub.UpdateFeatureView(asked)
    assert (changed.version, changed.HasField("online")) == (2, False)
    assert stub.GetFeatureView(pb.GetFeatureViewRequest(name="plain", version=1)).spec == made.spec
    versions = stub.ListFeatureViewVersions(pb.ListFeatureViewVersionsRequest(name="plain")).versions
    assert [(each.version, each.HasField("online")) for each in versions] == [(2, False), (1, True)]
    assert [each.name for each in stub.ListFeatureViews(pb.ListFeatureViewsRequest(query="DEL")).feature_views] == ["plain"]

    deep = pb.UpdateFeatureViewRequest(feature_view=made, update_mask={"paths": ["spec.features"]})
    assert refused(lambda: stub.UpdateFeatureView(deep)).metadata["field"] == "update_mask"
    missing = spec_of("delay", dataset=view_pb.DatasetSource(dataset="nothing"))
    found = refused(lambda: stub.CreateFeatureView(pb.CreateFeatureViewRequest(name="other", spec=missing)))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND")
    found = refused(lambda: stub.CreateFeatureView(pb.CreateFeatureViewRequest(name="serve", spec=made.spec)))
    assert found.reason == "INVALID_FEATURE_VIEW"


def test_a_computed_view_makes_a_pipeline_that_data_processing_takes(local: ServedProcessing, stub: Any, flights: str) -> None:
    asked = pb.CreateFeatureViewRequest(name="sums", spec=spec_of("delay", "flights", computed=computed(flights, keys=["carrier"])))
    checked = pb.CreateFeatureViewRequest()
    checked.CopyFrom(asked)
    checked.validate_only = True
    assert stub.CreateFeatureView(checked).version == 1
    with grpc.insecure_channel(local.server.address) as channel:
        pipelines = PipelineServiceStub(bearing(channel, local.mesh))
        assert list(pipelines.ListPipelines(pipeline_service_pb2.ListPipelinesRequest()).pipelines) == []

        made = stub.CreateFeatureView(asked)

        assert [(each.name, each.type) for each in made.spec.features] == [("delay", "float64"), ("flights", "int64")]
        kept = pipelines.GetPipeline(pipeline_service_pb2.GetPipelineRequest(name=made.pipeline))
        assert [each.dataset for each in kept.spec.outputs] == [made.dataset]
        assert stub.UpdateFeatureView(pb.UpdateFeatureViewRequest(feature_view=made)).version == 1

        found = refused(
            lambda: stub.CreateFeatureView(
                pb.CreateFeatureViewRequest(name="bad", spec=spec_of("delay", computed=computed(flights, "SELECT nothing FROM flights")))
            )
        )
        assert found.code == grpc.StatusCode.INVALID_ARGUMENT
        found = refused(
            lambda: stub.CreateFeatureView(
                pb.CreateFeatureViewRequest(name="bad", spec=spec_of("flights", computed=computed(flights, keys=["nothing"])))
            )
        )
        assert found.code == grpc.StatusCode.INVALID_ARGUMENT, "data processing does not take the pipeline, and no view is kept"
        assert refused(lambda: stub.GetFeatureView(pb.GetFeatureViewRequest(name="bad"))).reason == "FEATURE_VIEW_NOT_FOUND"

        stub.DeleteFeatureView(pb.DeleteFeatureViewRequest(name="sums"))
        assert list(pipelines.ListPipelines(pipeline_service_pb2.ListPipelinesRequest()).pipelines) == []


def test_a_service_over_the_contract(stub: Any, flights: str) -> None:
    stub.CreateFeatureView(
        pb.CreateFeatureViewRequest(name="served", spec=spec_of("delay", dataset=view_pb.DatasetSource(dataset=flights)))
    )
    spec = view_pb.FeatureServiceSpec(selections=[view_pb.FeatureSelection(view="served")])
    assert stub.CreateFeatureService(pb.CreateFeatureServiceRequest(name="s", spec=spec, validate_only=True)).version == 1
    made = stub.CreateFeatureService(pb.CreateFeatureServiceRequest(name="s", spec=spec))
    assert (made.spec.selections[0].version, list(made.spec.selections[0].features)) == (1, ["delay"])
    emptied = pb.UpdateFeatureServiceRequest(feature_service={"name": "s"}, update_mask={"paths": ["spec"]})
    assert refused(lambda: stub.UpdateFeatureService(emptied)).metadata["field"] == "feature_service.spec"
    spec.selections[0].prefix = "f_"
    assert stub.UpdateFeatureService(pb.UpdateFeatureServiceRequest(feature_service={"name": "s", "spec": spec})).version == 2
    assert stub.GetFeatureService(pb.GetFeatureServiceRequest(name="s", version=1)).spec == made.spec
    assert [each.version for each in stub.ListFeatureServiceVersions(pb.ListFeatureServiceVersionsRequest(name="s")).versions] == [2, 1]
    assert [each.name for each in stub.ListFeatureServices(pb.ListFeatureServicesRequest(filter='view = "served"')).feature_services] == [
        "s"
    ]
    stub.DeleteFeatureService(pb.DeleteFeatureServiceRequest(name="s"))
    assert refused(lambda: stub.GetFeatureService(pb.GetFeatureServiceRequest(name="s"))).reason == "FEATURE_SERVICE_NOT_FOUND"


def test_lineage_and_statistics_are_asked_of_those_who_know(stub: Any) -> None:
    lineage = stub.GetFeatureViewLineage(pb.GetFeatureViewLineageRequest(name="v"))
    assert [each.service for each in lineage.services] == ["default/v"]
    statistics = stub.GetFeatureViewStatistics(pb.GetFeatureViewStatisticsRequest(name="v", baseline_version=3))
    assert (statistics.version, statistics.baseline_version) == (7, 3)
