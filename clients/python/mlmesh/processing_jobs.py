"""What processing jobs, their explanations and the state of the engines are to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import status_pb2
from mlops.common.v1 import job_pb2
from mlops.processing.v1 import processing_job_pb2, processing_service_pb2

from mlmesh.datasets import Column
from mlmesh.fields import enum_name
from mlmesh.json_values import plain_struct
from mlmesh.statuses import error_of_status
from mlmesh.validation_reports import ValidationReport, report_value

_FINAL = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class JobError:
    """Why a job failed.

    Args:
        code: Name of the gRPC status code, for example `RESOURCE_EXHAUSTED`.
        reason: Stable reason in UPPER_SNAKE_CASE.
        message: The same in words.
    """

    code: str
    reason: str
    message: str


@dataclass(frozen=True)
class JobStateChange:
    """One step of a job's life.

    Args:
        state: The state entered.
        enter_time: When it was entered.
        reason: Why, in a sentence; empty where the state speaks for itself.
    """

    state: str
    enter_time: datetime
    reason: str


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Args:
        phase: What it is at: `validating`, `computing` or `writing`; empty until it begins.
        rows_computed: Rows of outputs that were computed so far.
        outputs_written: Outputs that are written.
    """

    phase: str
    rows_computed: int
    outputs_written: int


@dataclass(frozen=True)
class InputResult:
    """What became of an input.

    Args:
        name: Its name.
        dataset: The dataset.
        version: The version that is read.
        validation: What its expectations found; None without any, and until then.
    """

    name: str
    dataset: str
    version: int
    validation: ValidationReport | None


@dataclass(frozen=True)
class OutputResult:
    """What became of an output.

    Args:
        step: The step.
        dataset: The dataset.
        row_count: Rows that were computed.
        version: The version that was written; None until then.
        ingestion_id: The ingestion that wrote it, with what it left out and what its gate found; empty until then.
    """

    step: str
    dataset: str
    row_count: int
    version: int | None
    ingestion_id: str


@dataclass(frozen=True)
class DifferentRow:
    """A row that only one of two results has.

    Args:
        dataset: The dataset of the output.
        is_extra: Whether the output has it, and a full run does not give it; else it is the other way round.
        values: Its values by column.
    """

    dataset: str
    is_extra: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class CheckResult:
    """Whether the outputs of a pipeline are what a full run gives.

    Args:
        is_equal: Whether they are.
        missing_row_count: Rows that a full run gives and the outputs do not have.
        extra_row_count: Rows that the outputs have and a full run does not give.
        rows: Some of these rows.
    """

    is_equal: bool
    missing_row_count: int
    extra_row_count: int
    rows: tuple[DifferentRow, ...]


@dataclass(frozen=True)
class ProcessingJob:
    """A job, as it was when the mesh was asked: rows of datasets become rows of datasets.

    Args:
        id: Identifier, a UUID; empty where it was only validated.
        project: Its project.
        display_name: Its name, for people.
        labels: Labels.
        spec: What it is to do, with versions and defaults filled in, as the contract has it in JSON. It can be given to
            `create_processing_job` again; in lists it has no plan, SQL and expectations.
        state: `queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`.
        state_history: The states it was in, the oldest first.
        error: Why it failed; None where it did not.
        progress: How far it is.
        inputs: What became of its inputs.
        outputs: What became of its outputs.
        attempt: Number of the attempt; the first is 1, and 0 until it begins.
        retry_of: The job of which it is a repeat; empty where it is none.
        peak_memory_bytes: Most memory that its processes had, in bytes; 0 where that is not known.
        creator: Who asked for it.
        create_time: When it was asked for.
        start_time: When work began; None until then.
        end_time: When it ended; None until then.
        pipeline: The pipeline of which it is a run or a check; empty where it is none.
        pipeline_version: The version of the pipeline.
        run_mode: How much a run of a pipeline computed: `incremental` or `full`; empty until that is known, and where it is no run.
        full_reason: Why a run of a pipeline computed everything, in a sentence.
        changed_rows: Rows of inputs that came or went since the run before, of an incremental run.
        touched_keys: Keys whose rows were computed anew, of an incremental run with keys.
        check: What a check of a pipeline found; None until then.
    """

    id: str
    project: str
    display_name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    state: str
    state_history: tuple[JobStateChange, ...]
    error: JobError | None
    progress: JobProgress
    inputs: tuple[InputResult, ...]
    outputs: tuple[OutputResult, ...]
    attempt: int
    retry_of: str
    peak_memory_bytes: int
    creator: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    pipeline: str
    pipeline_version: int
    run_mode: str
    full_reason: str
    changed_rows: int
    touched_keys: int
    check: CheckResult | None

    @property
    def is_done(self) -> bool:
        """Whether its state is final."""
        return self.state in _FINAL

    @property
    def is_successful(self) -> bool:
        """Whether it wrote its outputs."""
        return self.state == "succeeded"

    @property
    def engine(self) -> str:
        """What runs it."""
        return str(self.spec.get("engine", "")).removeprefix("ENGINE_").lower()


@dataclass(frozen=True)
class StepExplanation:
    """What a step of a plan becomes.

    Args:
        step: Its name.
        kind: What it is: `Filter`, `AsOfJoin`.
        columns: Its columns.
        estimated_rows: Rows, estimated.
        estimated_bytes: Size of the rows, estimated, in bytes.
        estimated_memory_bytes: What it has to hold at a time, estimated, in bytes.
    """

    step: str
    kind: str
    columns: tuple[Column, ...]
    estimated_rows: int
    estimated_bytes: int
    estimated_memory_bytes: int


@dataclass(frozen=True)
class JobExplanation:
    """How a job would run.

    Args:
        plan: The plan, also where the job has SQL, as the contract has it in JSON.
        steps: Its steps, each after those that it reads.
        text: The same as a text for people, with the statements and stages that it becomes.
        estimated_input_rows: Rows that are read, estimated.
        estimated_input_bytes: Size of what is read, estimated, in bytes.
        estimated_memory_bytes: Most that has to be held at a time, estimated, in bytes.
    """

    plan: dict[str, Any]
    steps: tuple[StepExplanation, ...]
    text: str
    estimated_input_rows: int
    estimated_input_bytes: int
    estimated_memory_bytes: int


@dataclass(frozen=True)
class EngineStatus:
    """An engine of the server.

    Args:
        engine: Which: `local`, `ray`, `dask` or `spark`.
        is_available: Whether jobs can use it.
        version: Its version; empty where it is not installed.
        unavailable_reason: Why it cannot be used, and what to do; empty where it can.
        running_jobs: Jobs of the project that it runs.
        queued_jobs: Jobs of the project that wait for it.
    """

    engine: str
    is_available: bool
    version: str
    unavailable_reason: str
    running_jobs: int
    queued_jobs: int


@dataclass(frozen=True)
class ProcessingStatus:
    """How data processing stands.

    Args:
        engines: The engines.
        concurrent_jobs: Jobs that a server runs at the same time.
        running: Jobs of the project that run, the oldest first, at most 100.
        queued: Jobs of the project that wait, in the order in which they begin, at most 100.
        job: The job that was asked for; None where none was.
    """

    engines: tuple[EngineStatus, ...]
    concurrent_jobs: int
    running: tuple[ProcessingJob, ...]
    queued: tuple[ProcessingJob, ...]
    job: ProcessingJob | None


def job_value(message: processing_job_pb2.ProcessingJob) -> ProcessingJob:
    """Reads a job."""
    return ProcessingJob(
        id=message.id,
        project=message.project,
        display_name=message.display_name,
        labels=dict(message.labels),
        spec=_as_json(message.spec),
        state=_state(message.state),
        state_history=tuple(JobStateChange(_state(one.state), one.enter_time.ToDatetime(UTC), one.reason) for one in message.state_history),
        error=error_value(message.error) if message.HasField("error") else None,
        progress=JobProgress(message.progress.phase, message.progress.rows_computed, message.progress.outputs_written),
        inputs=tuple(map(_input_value, message.inputs)),
        outputs=tuple(map(_output_value, message.outputs)),
        attempt=message.attempt,
        retry_of=message.retry_of,
        peak_memory_bytes=message.peak_memory_bytes,
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        start_time=message.start_time.ToDatetime(UTC) if message.HasField("start_time") else None,
        end_time=message.end_time.ToDatetime(UTC) if message.HasField("end_time") else None,
        pipeline=message.pipeline,
        pipeline_version=message.pipeline_version,
        run_mode=enum_name(processing_job_pb2.RunMode, message.run_mode) if message.run_mode else "",
        full_reason=message.full_reason,
        changed_rows=message.changed_rows,
        touched_keys=message.touched_keys,
        check=_check_value(message.check) if message.HasField("check") else None,
    )


def explanation_value(message: processing_job_pb2.JobExplanation) -> JobExplanation:
    """Reads an explanation."""
    return JobExplanation(
        plan=_as_json(message.plan),
        steps=tuple(map(_step_value, message.steps)),
        text=message.text,
        estimated_input_rows=message.estimated_input_rows,
        estimated_input_bytes=message.estimated_input_bytes,
        estimated_memory_bytes=message.estimated_memory_bytes,
    )


def status_value(message: processing_service_pb2.ProcessingStatus) -> ProcessingStatus:
    """Reads how processing stands."""
    return ProcessingStatus(
        engines=tuple(map(_engine_value, message.engines)),
        concurrent_jobs=message.concurrent_jobs,
        running=tuple(map(job_value, message.running)),
        queued=tuple(map(job_value, message.queued)),
        job=job_value(message.job) if message.HasField("job") else None,
    )


def _input_value(message: processing_job_pb2.InputResult) -> InputResult:
    report = report_value(message.validation) if message.HasField("validation") else None
    return InputResult(message.name, message.dataset, message.version, report)


def _output_value(message: processing_job_pb2.OutputResult) -> OutputResult:
    version = message.version if message.HasField("version") else None
    return OutputResult(message.step, message.dataset, message.row_count, version, message.ingestion_id)


def _check_value(message: processing_job_pb2.CheckResult) -> CheckResult:
    rows = tuple(DifferentRow(one.dataset, one.is_extra, plain_struct(one.values)) for one in message.rows)
    return CheckResult(message.is_equal, message.missing_row_count, message.extra_row_count, rows)


def _step_value(message: processing_job_pb2.StepExplanation) -> StepExplanation:
    return StepExplanation(
        step=message.step,
        kind=message.kind,
        columns=tuple(Column(column.name, column.type) for column in message.columns),
        estimated_rows=message.estimated_rows,
        estimated_bytes=message.estimated_bytes,
        estimated_memory_bytes=message.estimated_memory_bytes,
    )


def _engine_value(message: processing_service_pb2.EngineStatus) -> EngineStatus:
    return EngineStatus(
        engine=enum_name(processing_job_pb2.Engine, message.engine),
        is_available=message.is_available,
        version=message.version,
        unavailable_reason=message.unavailable_reason,
        running_jobs=message.running_jobs,
        queued_jobs=message.queued_jobs,
    )


def _state(value: int) -> str:
    return enum_name(job_pb2.JobState, value)


def error_value(status: status_pb2.Status) -> JobError:
    """Reads why a job failed."""
    error = error_of_status(status)
    return JobError(error.code, error.reason, error.message)


def _as_json(message: Message) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
