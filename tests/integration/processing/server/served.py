"""A processing server and an ingestion server in this process, their callers, and a users server beside them."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb
from mlops.processing.v1.processing_service_pb2_grpc import DataProcessingServiceStub

from servers.processing.composition import build
from servers.processing.settings import ProcessingSettings
from servers.runtime.server import Server
from tests.integration.ingestion.server.places import Place
from tests.integration.ingestion.server.served import Mesh, ServedIngestion
from tests.integration.ingestion.server.served import served as served_ingestion
from tests.integration.runtime.waiting import eventually
from tests.small_mesh.identity import EVERYTHING

PATIENCE_S = 120.0
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@dataclass(frozen=True)
class Refusal:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]


def refusal_of(error: grpc.RpcError) -> Refusal:
    """What a call was refused with."""
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
    assert status is not None
    for detail in status.details:
        detail.Unpack(info)
    return Refusal(error.code(), info.reason, status.message, dict(info.metadata))


def reason_of(job: job_pb.ProcessingJob) -> str:
    """Why a job failed; empty where it did not."""
    info = error_details_pb2.ErrorInfo()
    for detail in job.error.details:
        detail.Unpack(info)
    return info.reason


def parquet(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@dataclass
class ServedProcessing:
    """Running servers."""

    server: Server
    mesh: Mesh
    ingestion: ServedIngestion
    stub: Any
    data_dir: Path

    def stub_of(self, grants: Mapping[str, Sequence[str]]) -> Any:
        """A stub of a caller with some rights alone."""
        channel = grpc.insecure_channel(self.server.address)
        return DataProcessingServiceStub(grpc.intercept_channel(channel, _Bearer(self.mesh, grants)))

    def dataset(self, table: pa.Table, name: str = "") -> str:
        """Makes a dataset of a table; returns its name."""
        name = name or self.ingestion.new_dataset()
        written = self.ingestion.ingest(name, parquet(table), "rows.parquet", mode=ingestion_pb2.WRITE_MODE_OVERWRITE)
        assert written.state == job_pb2.JOB_STATE_SUCCEEDED, written
        return name

    def rows(self, dataset: str) -> list[dict[str, Any]]:
        """The rows of a dataset, found without the servers' code."""
        found: list[dict[str, Any]] = self.ingestion.place.table(dataset).to_pyarrow_table().to_pylist()
        return found

    def versions(self, dataset: str) -> int:
        """How many versions a dataset has beside the first, which is its making."""
        return int(self.ingestion.place.table(dataset).version())

    def spec(self, inputs: Mapping[str, str], sql: str = "", output: str = "", *, plan: Any = None, **more: Any) -> job_pb.JobSpec:
        """What a job is to do."""
        spec = job_pb.JobSpec(inputs=[job_pb.JobInput(name=name, dataset=dataset) for name, dataset in inputs.items()], **more)
        if plan is not None:
            spec.plan.CopyFrom(plan)
        else:
            spec.sql = sql
        if output:
            spec.outputs.add(dataset=output)
        return spec

    def create(self, spec: job_pb.JobSpec, **more: Any) -> job_pb.ProcessingJob:
        """Asks for a job."""
        job: job_pb.ProcessingJob = self.stub.CreateProcessingJob(pb.CreateProcessingJobRequest(spec=spec, **more))
        return job

    def get(self, job_id: str) -> job_pb.ProcessingJob:
        """A job as it stands."""
        job: job_pb.ProcessingJob = self.stub.GetProcessingJob(pb.GetProcessingJobRequest(id=job_id))
        return job

    def until(self, job_id: str, is_so: Callable[[job_pb.ProcessingJob], bool]) -> job_pb.ProcessingJob:
        """A job once something is so."""
        eventually(lambda: is_so(self.get(job_id)), PATIENCE_S)
        return self.get(job_id)

    def ended(self, job_id: str) -> job_pb.ProcessingJob:
        """A job once it has ended."""
        return self.until(job_id, lambda job: job.state in ENDED)

    def run(self, spec: job_pb.JobSpec, **more: Any) -> job_pb.ProcessingJob:
        """Asks for a job and waits for its end."""
        return self.ended(self.create(spec, **more).id)

    def log(self, job_id: str, cursor: int = 0, **more: Any) -> list[str]:
        """The lines of a job's log, until its end."""
        answers: Iterable[Any] = self.stub.TailProcessingJobLogs(pb.TailProcessingJobLogsRequest(id=job_id, cursor=cursor, **more))
        return [line.text for answer in answers for line in answer.lines.lines]


@contextmanager
def served(
    mesh: Mesh,
    place: Place,
    *,
    database_url: str = "",
    ingestion_settings: Mapping[str, Any] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **settings: Any,
) -> Iterator[ServedProcessing]:
    """Both servers as long as the block runs.

    Args:
        mesh: What is beside them.
        place: Where tables are.
        database_url: Their database; SQLite by default.
        ingestion_settings: Of ingestion.
        clock: The time by which old jobs are forgotten.
        settings: Others of processing.
    """
    with (
        served_ingestion(mesh, place, database_url=database_url, **(ingestion_settings or {})) as ingestion,
        processing_beside(mesh, ingestion, database_url=database_url, clock=clock, **settings) as running,
    ):
        yield running


@contextmanager
def processing_beside(
    mesh: Mesh,
    ingestion: ServedIngestion,
    *,
    database_url: str = "",
    data_dir: Path | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **settings: Any,
) -> Iterator[ServedProcessing]:
    """A processing server beside an ingestion server."""
    own = mesh.folder / uuid.uuid4().hex[:6]
    usual: dict[str, Any] = {
        "data_dir": data_dir or own,
        "listen": f"unix:{own}.sock",
        "users_address": f"unix:{mesh.folder}/users.sock",
        "service_key_file": mesh.key_file,
        "database_url": database_url,
        "ingestion_address": ingestion.server.address,
        "s3_endpoint": ingestion.place.s3_endpoint,
        "drain_s": 0,
        "allows_python_functions": True,
    }
    server = build(ProcessingSettings(**(usual | settings)), clock)
    server.start()
    try:
        with grpc.insecure_channel(server.address) as channel:
            stub = DataProcessingServiceStub(grpc.intercept_channel(channel, _Bearer(mesh, EVERYTHING)))
            yield ServedProcessing(server, mesh, ingestion, stub, data_dir or own)
    finally:
        server.stop()


class _Bearer(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Shows a token with each call."""

    def __init__(self, mesh: Mesh, grants: Mapping[str, Sequence[str]]) -> None:
        self._metadata = mesh.issuer.bearer(grants)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(metadata=self._metadata), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(metadata=self._metadata), request)
