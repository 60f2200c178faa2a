"""A features server beside real processing and ingestion servers, all in this process, with an online store in LMDB."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.features.v1.feature_job_service_pb2_grpc import FeatureJobServiceStub, add_FeatureJobServiceServicer_to_server
from mlops.ingestion.v1 import ingestion_pb2

from servers.features.definitions.entities import EntityManagement
from servers.features.definitions.records import ViewVersion
from servers.features.definitions.services import ServiceManagement, ServiceRequest
from servers.features.definitions.view_sources import ViewSources
from servers.features.definitions.views import ViewManagement, ViewRequest
from servers.features.errors import EntityExists
from servers.features.insight.lineage import Lineage
from servers.features.insight.statistics import Statistics
from servers.features.jobs.assembly import FeatureJobs, Surroundings
from servers.features.online import JoinKey, JoinKeyType, OnlineStore, ViewRead, entity_keys, open_online_store, python_values, read_views
from servers.features.peers import ingestion_peer, processing_peer
from servers.features.peers.registry_peer import RegistryPeer
from servers.features.serving.on_demand import check_on_demand
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from servers.features.store.online_states import OnlineStates
from servers.features.store.opening import open_store
from servers.features.store.revision import Revision
from servers.runtime.auth import Principal
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, build_server
from servers.runtime.service_identity import ServiceCredentials
from tests.integration.ingestion.server.served import bearing
from tests.integration.processing.server.functions import waiting
from tests.integration.processing.server.served import ServedProcessing, parquet
from tests.integration.runtime.waiting import eventually

PATIENCE_S = 120.0
QUEUED, RUNNING = job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING
SUCCEEDED, FAILED, CANCELLED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED
ENDED = (SUCCEEDED, FAILED, CANCELLED)
INCREMENTAL, FULL = pb.MATERIALIZE_MODE_INCREMENTAL, pb.MATERIALIZE_MODE_FULL
START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
CALLER = Principal("tester", "tester", "user", {"*": frozenset(["*"])})


def at(*hours: float | None) -> pa.Array:
    """Hours since the beginning of all tests."""
    return pa.array([None if hour is None else START + timedelta(hours=hour) for hour in hours], TIME)


@dataclass
class Fed:
    """Running servers, and what is in the features server."""

    served: ServedProcessing
    stub: Any
    jobs: FeatureJobs
    around: Surroundings
    views: ViewManagement
    services: ServiceManagement
    online: OnlineStore
    lineage: Lineage
    statistics: Statistics
    channel: grpc.Channel

    def stub_of(self, grants: Mapping[str, Sequence[str]]) -> Any:
        """A stub of a caller with some rights alone."""
        metadata = self.served.mesh.issuer.bearer(grants)
        return FeatureJobServiceStub(grpc.intercept_channel(self.channel, _Metadata(metadata)))

    def write(self, dataset: str, table: pa.Table, mode: int = ingestion_pb2.WRITE_MODE_APPEND) -> None:
        """Writes rows into a dataset."""
        written = self.served.ingestion.ingest(dataset, parquet(table), "rows.parquet", mode=mode)
        assert written.state == SUCCEEDED, written

    def view(self, spec: view_pb.FeatureViewSpec, name: str = "") -> ViewVersion:
        """Makes a view of customers."""
        name = name or f"view_{uuid.uuid4().hex[:8]}"
        spec.entities.append("customer")
        return self.views.create(ViewRequest("default", name, spec), CALLER, lambda: None).shown

    def spending(self, dataset: str, **more: Any) -> ViewVersion:
        """Makes the view that most tests have."""
        return self.view(
            view_pb.FeatureViewSpec(
                dataset=view_pb.DatasetSource(dataset=dataset),
                event_time_column="event",
                features=[view_pb.Feature(name="amount")],
                key_columns={"customer_id": "id"},
                **more,
            )
        )

    def service(self, spec: view_pb.FeatureServiceSpec) -> str:
        """Makes a service; returns its name."""
        return self.services.create(ServiceRequest("default", f"service_{uuid.uuid4().hex[:8]}", spec), CALLER).name

    def begin(self, view: ViewVersion, mode: int = INCREMENTAL) -> pb.Materialization:
        """Asks for a materialisation."""
        begun: pb.Materialization = self.stub.MaterializeFeatureView(pb.MaterializeFeatureViewRequest(name=view.view, mode=mode))
        return begun

    def look(self, materialization_id: str) -> pb.Materialization:
        """A materialisation as it stands."""
        found: pb.Materialization = self.stub.GetMaterialization(pb.GetMaterializationRequest(id=materialization_id))
        return found

    def ended(self, materialization_id: str) -> pb.Materialization:
        """A materialisation once it has ended."""
        eventually(lambda: self.look(materialization_id).state in ENDED, PATIENCE_S)
        return self.look(materialization_id)

    def materialize(self, view: ViewVersion, mode: int = INCREMENTAL) -> pb.Materialization:
        """Asks for a materialisation and waits for its good end."""
        ended = self.ended(self.begin(view, mode).id)
        assert ended.state == SUCCEEDED, ended
        return ended

    def newest(self, view: ViewVersion, customers: Sequence[int]) -> list[Any]:
        """What the online store has of the first feature of some customers; None where it has nothing."""
        generation = self.around.online_states.get(view.id).generation
        keys = entity_keys([key.join_key for key in view.keys], [customers])
        [found] = read_views(self.online, [ViewRead(view.online_name(generation), view.schema, keys)], 0)
        values = python_values(next(iter(found.columns.values())))
        return [value if status in (1, 2) else None for value, status in zip(values, found.statuses[0], strict=True)]

    def create(self, spec: pb.TrainingSetSpec, **more: Any) -> pb.TrainingSet:
        """Asks for a training set."""
        made: pb.TrainingSet = self.stub.CreateTrainingSet(pb.CreateTrainingSetRequest(spec=spec, **more))
        return made

    def training_set(self, training_set_id: str) -> pb.TrainingSet:
        """A training set as it stands."""
        found: pb.TrainingSet = self.stub.GetTrainingSet(pb.GetTrainingSetRequest(id=training_set_id))
        return found

    def trained(self, spec: pb.TrainingSetSpec) -> pb.TrainingSet:
        """Asks for a training set and waits for its end."""
        training_set_id = self.create(spec).id
        eventually(lambda: self.training_set(training_set_id).state in ENDED, PATIENCE_S)
        return self.training_set(training_set_id)


class _Metadata(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, metadata: list[tuple[str, str]]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(metadata=self._metadata), request)


@contextmanager
def fed(served: ServedProcessing, clock: Callable[[], datetime] = lambda: datetime.now(UTC), **settings: Any) -> Iterator[Fed]:
    """A features server beside others."""
    mesh, own = served.mesh, served.mesh.folder / uuid.uuid4().hex[:6]
    usual: dict[str, Any] = {
        "data_dir": own,
        "listen": f"unix:{own}.sock",
        "users_address": f"unix:{mesh.folder}/users.sock",
        "service_key_file": mesh.key_file,
        "drain_s": 0,
        "concurrent_jobs": 2,
        "s3_endpoint": served.ingestion.place.s3_endpoint,
    }
    given = FeaturesSettings(**(usual | settings))
    engine, identity = open_store(given), ServiceCredentials.from_settings(given)
    revision, online_url = Revision(engine), f"lmdb://{given.data_dir}/online"
    ingestion_channel = open_channel(served.ingestion.server.address, identity=identity, settings=given, services=ingestion_peer.SERVICES)
    processing_channel = open_channel(served.server.address, identity=identity, settings=given, services=processing_peer.SERVICES)
    around = Surroundings(
        engine,
        Definitions(engine),
        OnlineStates(engine, revision),
        ingestion_peer.IngestionPeer(ingestion_channel, given.peer_patience_s),
        processing_peer.ProcessingPeer(processing_channel, given.peer_patience_s),
    )
    jobs = FeatureJobs(around, given, online_url, clock)
    online = open_online_store(online_url)
    jobs.start()

    def make_id() -> str:
        return str(uuid.uuid4())

    views = ViewManagement(
        engine, revision, ViewSources(around.ingestion, around.processing), around.online_states, jobs.remove_vectors, clock, make_id
    )
    with suppress(EntityExists):
        EntityManagement(engine, revision, clock).create("default", "customer", (JoinKey("customer_id", JoinKeyType.INT64),), CALLER)
    server = build_server(
        given,
        [Registration(add_FeatureJobServiceServicer_to_server, jobs.servicer)],
        component=given.component,
        database=engine,
        on_close=[online.close, ingestion_channel.close, processing_channel.close, identity.close, jobs.close],
    )
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            yield Fed(
                served,
                FeatureJobServiceStub(bearing(channel, mesh)),
                jobs,
                around,
                views,
                ServiceManagement(engine, revision, check_on_demand, clock, make_id),
                online,
                Lineage(around.definitions, jobs.training_sets, around.ingestion, RegistryPeer(None, 0), lambda: CALLER),
                Statistics(around.definitions, around.online_states, around.ingestion, clock, lambda: CALLER),
                channel,
            )
    finally:
        server.stop()


def keep_processing_busy(features: Fed, sign: Path) -> None:
    """Has jobs run that take all workers of processing until a file is there."""
    served = features.served
    jobs = [
        served.create(served.spec({"t": served.dataset(pa.table({"a": [1]}))}, plan=waiting(sign), output=served.ingestion.new_dataset()))
        for _ in range(2)
    ]
    eventually(lambda: all(served.get(each.id).progress.phase == "computing" for each in jobs), PATIENCE_S)
