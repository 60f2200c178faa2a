"""Pipelines of servers in this process, and their callers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pyarrow as pa
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import pipeline_pb2 as pipeline_pb
from mlops.processing.v1 import pipeline_service_pb2 as pb
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1.pipeline_service_pb2_grpc import PipelineServiceStub

from tests.integration.ingestion.server.served import bearing
from tests.integration.processing.server.served import ServedProcessing, parquet

SUCCEEDED, FAILED, CANCELLED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED
FULL, INCREMENTAL = job_pb.RUN_MODE_FULL, job_pb.RUN_MODE_INCREMENTAL
DISCARD_ROW = ingestion_pb2.CONTRACT_MODE_DISCARD_ROW
UPSERT, APPEND, OVERWRITE = ingestion_pb2.WRITE_MODE_UPSERT, ingestion_pb2.WRITE_MODE_APPEND, ingestion_pb2.WRITE_MODE_OVERWRITE


@dataclass
class Piped:
    """Running servers, and who has pipelines there."""

    served: ServedProcessing
    stub: Any

    def write(self, dataset: str, table: pa.Table, mode: int = OVERWRITE, keys: Sequence[str] = ()) -> None:
        """Writes rows into a dataset."""
        written = self.served.ingestion.ingest(dataset, parquet(table), "rows.parquet", mode=mode, keys=keys)
        assert written.state == SUCCEEDED, written

    def create(self, name: str, spec: pipeline_pb.PipelineSpec, **more: Any) -> pipeline_pb.Pipeline:
        """Makes a pipeline."""
        made: pipeline_pb.Pipeline = self.stub.CreatePipeline(pb.CreatePipelineRequest(name=name, spec=spec, **more))
        return made

    def update(self, name: str, *paths: str, validate_only: bool = False, **changes: Any) -> pipeline_pb.Pipeline:
        """Changes a pipeline."""
        request = pb.UpdatePipelineRequest(pipeline=pipeline_pb.Pipeline(name=name, **changes), validate_only=validate_only)
        request.update_mask.paths.extend(paths)
        changed: pipeline_pb.Pipeline = self.stub.UpdatePipeline(request)
        return changed

    def get(self, name: str, **more: Any) -> pipeline_pb.Pipeline:
        """A pipeline as it stands."""
        found: pipeline_pb.Pipeline = self.stub.GetPipeline(pb.GetPipelineRequest(name=name, **more))
        return found

    def begin(self, name: str, **more: Any) -> job_pb.ProcessingJob:
        """Asks for a run."""
        job: job_pb.ProcessingJob = self.stub.RunPipeline(pb.RunPipelineRequest(name=name, **more))
        return job

    def run(self, name: str, **more: Any) -> job_pb.ProcessingJob:
        """Asks for a run and waits for its end."""
        return self.served.ended(self.begin(name, **more).id)

    def check(self, name: str, **more: Any) -> job_pb.ProcessingJob:
        """Asks for a check and waits for its end."""
        return self.served.ended(self.stub.CheckPipeline(pb.CheckPipelineRequest(name=name, **more)).id)

    def quality(self, name: str, **more: Any) -> list[pipeline_pb.OutputQuality]:
        """Statistics of outputs."""
        return list(self.stub.ListOutputQuality(pb.ListOutputQualityRequest(name=name, **more)).quality)

    def alerts(self, **more: Any) -> list[pipeline_pb.QualityAlert]:
        """Alerts."""
        return list(self.stub.ListQualityAlerts(pb.ListQualityAlertsRequest(**more)).alerts)


@contextmanager
def piped(served: ServedProcessing) -> Iterator[Piped]:
    """The pipelines of servers that run."""
    with grpc.insecure_channel(served.server.address) as channel:
        yield Piped(served, PipelineServiceStub(bearing(channel, served.mesh)))
