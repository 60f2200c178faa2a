"""A features server as its composition makes it, beside real ones, and what its callers do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2 as job_pb
from mlops.features.v1 import feature_serving_service_pb2 as serving_pb
from mlops.features.v1 import feature_store_service_pb2 as store_pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.features.v1.feature_job_service_pb2_grpc import FeatureJobServiceStub
from mlops.features.v1.feature_serving_service_pb2_grpc import FeatureServingServiceStub
from mlops.features.v1.feature_store_service_pb2_grpc import FeatureStoreServiceStub
from mlops.ingestion.v1 import ingestion_pb2

from servers.features.composition import build
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from sql_engine import connect
from tests.integration.ingestion.server.served import bearing
from tests.integration.processing.server.served import ServedProcessing, parquet
from tests.integration.runtime.waiting import eventually

PATIENCE_S = 120.0
SUCCEEDED = job_pb2.JOB_STATE_SUCCEEDED
ENDED = (SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@dataclass
class RealFeatures:
    """A running server.

    Args:
        others: Processing and ingestion beside it.
        database_url: Its database.
        online_url: Of its online store.
        store: Definitions.
        serving: Values.
        jobs: Jobs.
    """

    others: ServedProcessing
    database_url: str
    online_url: str
    store: Any
    serving: Any
    jobs: Any

    def dataset(self, table: pa.Table, name: str = "", mode: int = ingestion_pb2.WRITE_MODE_APPEND) -> str:
        """Writes rows into a dataset, which is a new one by default; returns its name."""
        name = name or self.others.ingestion.new_dataset()
        written = self.others.ingestion.ingest(name, parquet(table), "rows.parquet", mode=mode)
        assert written.state == SUCCEEDED, written
        return name

    def view(self, **spec: Any) -> str:
        """Makes a view of customers; returns its name."""
        name = f"view_{uuid.uuid4().hex[:8]}"
        whole = view_pb.FeatureViewSpec(entities=["customer"], event_time_column="event", **spec)
        self.store.CreateFeatureView(store_pb.CreateFeatureViewRequest(name=name, spec=whole))
        return name

    def amounts(self, dataset: str, **more: Any) -> str:
        """Makes a view of a dataset."""
        return self.view(dataset=view_pb.DatasetSource(dataset=dataset), features=[view_pb.Feature(name="amount")], **more)

    def service(self, view: str) -> str:
        """Makes a service with an on-demand feature; returns its name."""
        name = f"service_{uuid.uuid4().hex[:8]}"
        spec = view_pb.FeatureServiceSpec(
            selections=[view_pb.FeatureSelection(view=view)],
            request_inputs=[view_pb.RequestInput(name="price", type="float64")],
            on_demand_features=[view_pb.OnDemandFeature(name="share", expression="amount / price", type="float64")],
        )
        self.store.CreateFeatureService(store_pb.CreateFeatureServiceRequest(name=name, spec=spec))
        return name

    def materialize(
        self, view: str, mode: job_pb.MaterializeMode.ValueType = job_pb.MATERIALIZE_MODE_INCREMENTAL
    ) -> job_pb.Materialization:
        """Has a view materialised, and waits for the good end of that."""
        begun = self.jobs.MaterializeFeatureView(job_pb.MaterializeFeatureViewRequest(name=view, mode=mode))

        def looked_at() -> job_pb.Materialization | None:
            found: job_pb.Materialization = self.jobs.GetMaterialization(job_pb.GetMaterializationRequest(id=begun.id))
            return found if found.state in ENDED else None

        ended: job_pb.Materialization = eventually(looked_at, PATIENCE_S)
        assert ended.state == SUCCEEDED, ended
        return ended

    def training_set(self, **spec: Any) -> job_pb.TrainingSet:
        """Has a training set made, and waits for its good end."""
        whole = job_pb.TrainingSetSpec(dataset=self.others.ingestion.new_dataset(), **spec)
        begun = self.jobs.CreateTrainingSet(job_pb.CreateTrainingSetRequest(spec=whole))

        def looked_at() -> job_pb.TrainingSet | None:
            found: job_pb.TrainingSet = self.jobs.GetTrainingSet(job_pb.GetTrainingSetRequest(id=begun.id))
            return found if found.state in ENDED else None

        ended: job_pb.TrainingSet = eventually(looked_at, PATIENCE_S)
        assert ended.state == SUCCEEDED, ended
        return ended

    def push(self, view: str, rows: Sequence[Mapping[str, Any]], **more: Any) -> serving_pb.PushFeaturesResponse:
        """Pushes rows."""
        request = serving_pb.PushFeaturesRequest(name=view, **more)
        for row in rows:
            request.rows.rows.add().update(row)
        answer: serving_pb.PushFeaturesResponse = self.serving.PushFeatures(request)
        return answer

    def online_names(self, view: str, generations: int) -> list[str]:
        """The names of a view's vectors."""
        engine = connect(self.database_url, schema="features")
        version = Definitions(engine).view_version("default", view)
        engine.dispose()
        return [version.online_name(generation) for generation in range(generations)]

    def newest(self, view: str, customers: Sequence[int]) -> list[int | None]:
        """Amounts as they are served; None where there is none."""
        request = serving_pb.ServeFeaturesRequest(selections=[view_pb.FeatureSelection(view=view)])
        request.entities["customer_id"].int64_values.values.extend(customers)
        (amount,) = self.serving.ServeFeatures(request).features
        values = zip(amount.values.int64_values.values, amount.statuses, strict=True)
        return [value if status == serving_pb.VALUE_STATUS_PRESENT else None for value, status in values]


def settings_beside(others: ServedProcessing, **more: Any) -> FeaturesSettings:
    """Settings of a features server beside others."""
    mesh, own = others.mesh, others.mesh.folder / uuid.uuid4().hex[:6]
    usual: dict[str, Any] = {
        "data_dir": own,
        "listen": f"unix:{own}.sock",
        "users_address": f"unix:{mesh.folder}/users.sock",
        "service_key_file": mesh.key_file,
        "online_timeout_s": 60,
        "ingestion_address": others.ingestion.server.address,
        "processing_address": others.server.address,
        "s3_endpoint": others.ingestion.place.s3_endpoint,
        "drain_s": 0,
    }
    return FeaturesSettings(**(usual | more))


@contextmanager
def features_beside(others: ServedProcessing, database_url: str, online_url: str) -> Iterator[RealFeatures]:
    """A features server as long as the block runs.

    Args:
        others: Processing and ingestion.
        database_url: Its database.
        online_url: Its online store.
    """
    settings = settings_beside(others, database_url=database_url, online_url=online_url)
    server = build(settings)
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            shown = bearing(channel, others.mesh)
            stubs = (FeatureStoreServiceStub(shown), FeatureServingServiceStub(shown), FeatureJobServiceStub(shown))
            yield RealFeatures(others, database_url, online_url, *stubs)
    finally:
        server.stop()
