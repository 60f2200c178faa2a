"""What was done by a server that died before it had answered is not done again."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from mlops.features.v1 import feature_job_service_pb2 as job_pb
from mlops.features.v1 import feature_store_service_pb2 as store_pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.peers import processing_peer
from servers.features.peers.processing_peer import ProcessingPeer
from servers.runtime.peers import open_channel
from servers.runtime.service_identity import ServiceCredentials
from tests.integration.features.real.running import PATIENCE_S, SUCCEEDED, RealFeatures, settings_beside
from tests.integration.processing.server.served import ServedProcessing
from tests.integration.runtime.lost_answers import lose_answers_of
from tests.integration.runtime.waiting import eventually

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_push_is_in_the_dataset_once(features: RealFeatures, others_database_url: str) -> None:
    view = features.view(push=view_pb.PushSource(), features=[view_pb.Feature(name="amount", type="int64")])
    dataset = features.store.GetFeatureView(store_pb.GetFeatureViewRequest(name=view)).dataset
    request_id, row = str(uuid.uuid4()), {"customer_id": 1, "event": START.isoformat(), "amount": 7}
    first = features.push(view, [row], request_id=request_id)
    eventually(lambda: features.others.ingestion.exists(dataset), PATIENCE_S)
    lose_answers_of(features.database_url, "features")
    lose_answers_of(others_database_url, "ingestion")

    again = features.push(view, [row], request_id=request_id)

    assert (again.ingestion_id, again.kept_newer_rows) == (first.ingestion_id, 1)
    assert features.materialize(view, job_pb.MATERIALIZE_MODE_FULL).read_rows == 1


def test_a_training_set_is_made_once(features: RealFeatures) -> None:
    table = pa.table({"customer_id": [1], "event": pa.array([START], pa.timestamp("us", "UTC")), "amount": [7]})
    view = features.amounts(features.dataset(table))
    spine = features.dataset(pa.table({"customer_id": [1], "at": pa.array([START], pa.timestamp("us", "UTC"))}))
    spec = job_pb.TrainingSetSpec(
        spine=job_pb.Spine(dataset=spine, label_time_column="at"),
        selections=[view_pb.FeatureSelection(view=view)],
        dataset=features.others.ingestion.new_dataset(),
    )
    request = job_pb.CreateTrainingSetRequest(spec=spec, request_id=str(uuid.uuid4()))
    first = features.jobs.CreateTrainingSet(request)
    lose_answers_of(features.database_url, "features")

    again = features.jobs.CreateTrainingSet(request)
    other = features.jobs.CreateTrainingSet(job_pb.CreateTrainingSetRequest(spec=spec, request_id=str(uuid.uuid4()), validate_only=True))

    assert (again.id, other.id) == (first.id, "")


def test_a_job_that_makes_a_training_set_is_taken_once(others: ServedProcessing, others_database_url: str) -> None:
    settings = settings_beside(others)
    identity = ServiceCredentials.from_settings(settings)
    channel = open_channel(others.server.address, identity=identity, settings=settings, services=processing_peer.SERVICES)
    peer = ProcessingPeer(channel, PATIENCE_S)
    spec = others.spec({"t": others.dataset(pa.table({"a": [1]}))}, "SELECT a FROM t", others.ingestion.new_dataset())
    request_id, labels = str(uuid.uuid4()), {"training_set": str(uuid.uuid4())}
    first = peer.create_job("default", spec, "one", request_id, labels)
    lose_answers_of(others_database_url, "processing")

    again = peer.create_job("default", spec, "one", request_id, labels)
    other = peer.create_job("default", spec, "two", str(uuid.uuid4()), labels)

    channel.close()
    identity.close()
    assert again.id == first.id != other.id


def test_definitions_and_materialisations_are_made_once(features: RealFeatures) -> None:
    table = pa.table({"customer_id": [1], "event": pa.array([START], pa.timestamp("us", "UTC")), "amount": [7]})
    view = features.amounts(features.dataset(table))
    name = f"thing_{uuid.uuid4().hex[:8]}"
    key, source = view_pb.JoinKey(name="customer_id", type="int64"), view_pb.PushSource()
    amount = view_pb.Feature(name="amount", type="int64")
    selection = view_pb.FeatureSelection(view=view)
    calls: list[tuple[Any, Any]] = [
        (features.store.CreateEntity, store_pb.CreateEntityRequest(name=name, join_keys=[key], request_id=str(uuid.uuid4()))),
        (
            features.store.CreateFeatureView,
            store_pb.CreateFeatureViewRequest(
                name=name,
                spec=view_pb.FeatureViewSpec(entities=["customer"], push=source, event_time_column="event", features=[amount]),
                request_id=str(uuid.uuid4()),
            ),
        ),
        (
            features.store.CreateFeatureService,
            store_pb.CreateFeatureServiceRequest(
                name=name, spec=view_pb.FeatureServiceSpec(selections=[selection]), request_id=str(uuid.uuid4())
            ),
        ),
        (features.jobs.MaterializeFeatureView, job_pb.MaterializeFeatureViewRequest(name=view, request_id=str(uuid.uuid4()))),
    ]
    first = [call(request) for call, request in calls]
    # A materialisation that runs would be the answer anyway.
    eventually(lambda: features.jobs.GetMaterialization(job_pb.GetMaterializationRequest(id=first[-1].id)).state == SUCCEEDED, PATIENCE_S)
    lose_answers_of(features.database_url, "features")

    again = [call(request) for call, request in calls]

    assert again[:3] == first[:3]
    assert again[-1].id == first[-1].id
