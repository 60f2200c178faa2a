"""The processing service of the small mesh: it answers as it is told, and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.common.v1 import job_pb2, log_pb2, stream_pb2
from mlops.ingestion.v1 import dataset_pb2
from mlops.processing.v1 import plan_pb2, processing_job_pb2, processing_service_pb2, processing_service_pb2_grpc

from tests.integration.client.small_mesh import PAGE, Scene, refuse

ID = "0d5f3a52-1c59-4d0c-8a3a-6d1f6f7f2c11"
MOMENT = "2026-11-27T12:00:00Z"
# How a connection of the log ends that is cut, as fake answers of the server.
CUT, END, FAILURE = "cut", "end", "failure"


def function_failed() -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="FUNCTION_FAILED", domain="mlmesh"))
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="step 'doubled': KeyError: [id]", details=[detail])


class SmallProcessing(processing_service_pb2_grpc.DataProcessingServiceServicer):
    """A job goes through `states`, one a look, and stays in the last. Its log has `lines`; `connections` says after how many of them each
    connection ends, and how."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.states = ["SUCCEEDED"]
        self.lines = [f"line {number}" for number in range(6)]
        self.connections: list[tuple[int, str]] = []
        self.spec = processing_job_pb2.JobSpec(engine=processing_job_pb2.ENGINE_LOCAL)

    def register(self, server: grpc.Server) -> None:
        processing_service_pb2_grpc.add_DataProcessingServiceServicer_to_server(self, server)

    def CreateProcessingJob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateProcessingJob", request)
        self.spec = request.spec
        self.spec.engine = self.spec.engine or processing_job_pb2.ENGINE_LOCAL
        return self._job("" if request.validate_only else ID)

    def GetProcessingJob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetProcessingJob", request)
        if request.id != ID:
            refuse(context, code_pb2.NOT_FOUND, f"there is no processing job {request.id}", "PROCESSING_JOB_NOT_FOUND")
        return self._job()

    def ListProcessingJobs(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListProcessingJobs", request)
        start = int(request.page_token or 0)
        found = [processing_job_pb2.ProcessingJob(id=f"j{number}", state=job_pb2.JOB_STATE_FAILED) for number in range(5)]
        following = str(start + PAGE) if start + PAGE < 5 else ""
        return processing_service_pb2.ListProcessingJobsResponse(jobs=found[start : start + PAGE], next_page_token=following)

    def CancelProcessingJob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CancelProcessingJob", request)
        return processing_job_pb2.ProcessingJob(id=request.id, state=job_pb2.JOB_STATE_CANCELLING)

    def RetryProcessingJob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "RetryProcessingJob", request)
        job = self._job()
        job.retry_of = request.id
        return job

    def TailProcessingJobLogs(self, request: Any, context: Any) -> Iterator[Any]:
        self.scene.enter(context, "TailProcessingJobLogs", request)
        count, ending = self.connections.pop(0) if self.connections else (len(self.lines), END)
        for number in range(request.cursor, min(request.cursor + count, len(self.lines))):
            line = log_pb2.LogLine(level=log_pb2.LOG_LEVEL_WARNING, source="worker-0", text=self.lines[number])
            line.time.FromJsonString(MOMENT)
            yield processing_service_pb2.TailProcessingJobLogsResponse(
                lines=processing_service_pb2.LogLines(lines=[line], cursor=number + 1)
            )
        if ending == CUT:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the server goes away")
        if ending != "silence":
            status = function_failed() if ending == FAILURE else status_pb2.Status()
            yield processing_service_pb2.TailProcessingJobLogsResponse(end=stream_pb2.StreamEnd(status=status))

    def ExplainProcessingJob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ExplainProcessingJob", request)
        columns = [dataset_pb2.Column(name="carrier", type="string")]
        step = processing_job_pb2.StepExplanation(step="late", kind="Filter", columns=columns, estimated_rows=7, estimated_bytes=2048)
        plan = plan_pb2.Plan(steps=[plan_pb2.Step(name="late", scan=plan_pb2.Scan(source="flights"))], outputs=["late"])
        return processing_job_pb2.JobExplanation(plan=plan, steps=[step], text="late: [Filter]", estimated_input_rows=70)

    def GetProcessingStatus(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetProcessingStatus", request)
        engines = [
            processing_service_pb2.EngineStatus(engine=processing_job_pb2.ENGINE_LOCAL, is_available=True, version="2.0.1", running_jobs=1),
            processing_service_pb2.EngineStatus(engine=processing_job_pb2.ENGINE_RAY, unavailable_reason="install mlmesh[ray]"),
        ]
        job = self._job() if request.job_id else None
        return processing_service_pb2.ProcessingStatus(engines=engines, concurrent_jobs=2, running=[self._job()], job=job)

    def _job(self, identifier: str = ID) -> processing_job_pb2.ProcessingJob:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        job = processing_job_pb2.ProcessingJob(
            id=identifier,
            project="default",
            display_name="nightly",
            spec=self.spec,
            state=job_pb2.JobState.Value(f"JOB_STATE_{state}"),
            creator="ada",
        )
        job.create_time.FromJsonString(MOMENT)
        job.inputs.add(name="flights", dataset="flights", version=3)
        if state == "SUCCEEDED":
            job.outputs.add(step="late", dataset="late", row_count=7, version=0, ingestion_id="i-1")
            job.end_time.FromJsonString(MOMENT)
        if state == "FAILED":
            job.error.CopyFrom(function_failed())
        return job
