"""Between the contract of data processing and the domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from mlops.common.v1 import job_pb2, log_pb2
from mlops.ingestion.v1 import dataset_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb

from servers.processing.engines.kinds import EngineKind
from servers.processing.jobs.jobs import JobRequest
from servers.processing.jobs.status import ProcessingStatus
from servers.processing.pipelines.records import PipelineRun
from servers.processing.plan.plan_json import plan_from_json
from servers.processing.plan_messages import plan_to_proto
from servers.processing.records import Failure, InputState, Job, OutputState, StateChange
from servers.processing.store import LogPage
from servers.runtime.errors import ERROR_DOMAIN
from servers.runtime.paging import Listing, page_size
from servers.runtime.timestamps import timestamp

_STATE_PREFIX = "JOB_STATE_"
_LEVEL_PREFIX = "LOG_LEVEL_"
_ENGINE_PREFIX = "ENGINE_"
_MODE_PREFIX = "RUN_MODE_"


class _ListRequest(Protocol):
    page_size: int
    page_token: str
    filter: str
    order_by: str


def listing_from_proto(request: _ListRequest) -> Listing:
    """Reads which part of a list is wanted."""
    return Listing(page_size(request.page_size), request.page_token, request.filter, request.order_by)


def request_from_proto(request: pb.CreateProcessingJobRequest, project: str) -> JobRequest:
    """Reads a job that somebody wants. Databases keep no NUL."""
    shown = without_nul
    labels = {shown(key): shown(value) for key, value in request.labels.items()}
    return JobRequest(project, request.spec, shown(request.display_name), labels)


def job_to_proto(job: Job) -> job_pb.ProcessingJob:
    """Gives a job as the contract has it."""
    return job_pb.ProcessingJob(
        id=job.id,
        project=job.project,
        display_name=job.display_name,
        labels=job.labels,
        spec=job.spec,
        state=_state(job.state.value),
        state_history=map(_change, job.history),
        error=None if job.error is None else _error(job.error),
        progress=job_pb.JobProgress(
            phase=job.progress.phase.value if job.progress.phase else "",
            rows_computed=job.progress.rows_computed,
            outputs_written=job.progress.outputs_written,
        ),
        inputs=map(_input, job.inputs),
        outputs=map(_output, job.outputs),
        attempt=job.attempt,
        retry_of=job.retry_of,
        peak_memory_bytes=job.progress.peak_memory_bytes,
        creator=job.creator,
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        end_time=timestamp(job.end_time),
        **_run(job.run),
    )


def explanation_to_proto(explained: Mapping[str, Any]) -> job_pb.JobExplanation:
    """Gives what `job_process.explaining` found as the contract has it."""
    return job_pb.JobExplanation(
        plan=plan_to_proto(plan_from_json(explained["plan"])),
        steps=[
            job_pb.StepExplanation(
                step=step["step"],
                kind=step["kind"],
                columns=[dataset_pb2.Column(name=name, type=kind) for name, kind in step["columns"]],
                estimated_rows=step["rows"],
                estimated_bytes=step["bytes"],
                estimated_memory_bytes=step["memory_bytes"],
            )
            for step in explained["steps"]
        ],
        text=explained["text"],
        estimated_input_rows=explained["input_rows"],
        estimated_input_bytes=explained["input_bytes"],
        estimated_memory_bytes=explained["memory_bytes"],
    )


def status_to_proto(status: ProcessingStatus) -> pb.ProcessingStatus:
    """Gives how processing stands as the contract has it."""
    return pb.ProcessingStatus(
        engines=[
            pb.EngineStatus(
                engine=_engine(engine.kind),
                is_available=engine.availability.is_available,
                version=engine.availability.version,
                unavailable_reason=engine.availability.reason,
                running_jobs=engine.load.running,
                queued_jobs=engine.load.queued,
            )
            for engine in status.engines
        ],
        concurrent_jobs=status.concurrent_jobs,
        running=map(job_to_proto, status.running),
        queued=map(job_to_proto, status.queued),
        job=None if status.job is None else job_to_proto(status.job),
    )


def lines_to_proto(page: LogPage) -> pb.TailProcessingJobLogsResponse:
    """Gives lines of a log as the contract has them."""
    lines = [
        log_pb2.LogLine(
            time=timestamp(line.time), level=log_pb2.LogLevel.Value(_LEVEL_PREFIX + line.level), source=line.source, text=line.text
        )
        for line in page.lines
    ]
    return pb.TailProcessingJobLogsResponse(lines=pb.LogLines(lines=lines, cursor=page.cursor))


def _state(name: str) -> job_pb2.JobState.ValueType:
    return job_pb2.JobState.Value(_STATE_PREFIX + name)


def _engine(kind: EngineKind) -> job_pb.Engine.ValueType:
    return job_pb.Engine.Value(_ENGINE_PREFIX + kind.value)


def _change(change: StateChange) -> job_pb2.JobStateChange:
    return job_pb2.JobStateChange(state=_state(change.state.value), enter_time=timestamp(change.time), reason=change.reason)


def _input(state: InputState) -> job_pb.InputResult:
    return job_pb.InputResult(name=state.name, dataset=state.dataset, version=state.version, validation=state.validation)


def _output(state: OutputState) -> job_pb.OutputResult:
    return job_pb.OutputResult(
        step=state.step, dataset=state.dataset, row_count=state.row_count, version=state.version, ingestion_id=state.ingestion_id
    )


def _error(failure: Failure) -> status_pb2.Status:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=failure.reason, domain=ERROR_DOMAIN, metadata=failure.metadata))
    return status_pb2.Status(code=failure.code, message=failure.message, details=[packed])


def _run(run: PipelineRun | None) -> dict[str, Any]:
    if run is None:
        return {}
    outcome = run.outcome
    return {
        "pipeline": run.pipeline,
        "pipeline_version": run.version,
        "run_mode": job_pb.RUN_MODE_UNSPECIFIED if outcome.mode is None else job_pb.RunMode.Value(_MODE_PREFIX + outcome.mode),
        "full_reason": outcome.full_reason,
        "changed_rows": outcome.changed_rows,
        "touched_keys": outcome.touched_keys,
        "check": run.check,
    }


def without_nul(text: str) -> str:
    """Returns a text that databases keep."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")
