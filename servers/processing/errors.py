"""What can be wrong with a job, beside its plan."""

from __future__ import annotations

import grpc

from servers.runtime.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

ALLOWS_FUNCTIONS = "MLMESH_PROCESSING_ALLOWS_PYTHON_FUNCTIONS"


class InvalidJob(InvalidArgument):
    """The parts of a job contradict each other, or it asks for more than the server gives.

    Args:
        field: Path of the field.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_JOB"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field_violations=[(field, message)], metadata={"field": field})


class JobTooLarge(InvalidJob):
    """A job asks for more memory, threads, partitions or time than the server's settings allow."""

    reason = "JOB_RESOURCES_TOO_LARGE"


class DataNotAllowed(PermissionDenied):
    """The caller may run jobs, and may not read or write data in the project."""

    reason = "PERMISSION_DENIED"

    def __init__(self, who: str, permission: str, project: str, what: str) -> None:
        super().__init__(
            f"{who!r} lacks the permission {permission!r} in project {project!r}, which {what} needs; "
            "an administrator can bind a role that has it",
            metadata={"permission": permission, "project": project},
        )


class FunctionsNotAllowed(FailedPrecondition):
    """The server runs no Python functions."""

    reason = "PYTHON_FUNCTIONS_NOT_ALLOWED"

    def __init__(self, step: str) -> None:
        message = (
            f"step {step!r} is a Python function, which this server does not run: it could do whatever the server's account can. "
            f"Express it in SQL, or have an administrator set {ALLOWS_FUNCTIONS}=true"
        )
        super().__init__(message, metadata={"step": step}, preconditions=[("SETTING", ALLOWS_FUNCTIONS, message)])


class CheckTookTooLong(DomainError):
    """Looking at a plan took longer than it may."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "PLAN_CHECK_TIMED_OUT"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the plan was not understood within {timeout_s:g} s (MLMESH_PROCESSING_CHECK_TIMEOUT_S); make it smaller, or repeat the call"
        )


class JobOutOfMemory(ResourceExhausted):
    """The processes of a job had more memory than it may have."""

    reason = "JOB_OUT_OF_MEMORY"

    def __init__(self, limit_bytes: int, peak_bytes: int) -> None:
        limit, peak = limit_bytes >> 20, peak_bytes >> 20
        super().__init__(
            f"the job had {peak:,} MiB of memory and may have {limit:,}; ask for more (resources.memory_mib), or filter before",
            metadata={"limit_mib": str(limit), "peak_mib": str(peak)},
        )


class JobTimedOut(DomainError):
    """An attempt took longer than it may."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "JOB_TIMED_OUT"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the attempt was not over after {timeout_s:g} s; allow more with resources.timeout, or give the job less to do",
            metadata={"timeout_s": f"{timeout_s:g}"},
        )


class JobProcessLost(Unavailable):
    """Somebody killed the process of a job."""

    reason = "JOB_PROCESS_LOST"

    def __init__(self, how: str) -> None:
        super().__init__(f"the process of the job {how}")


class JobProcessDied(DomainError):
    """The process of a job crashed."""

    code = grpc.StatusCode.INTERNAL
    reason = "JOB_PROCESS_DIED"

    def __init__(self, how: str) -> None:
        super().__init__(f"the process of the job {how}; its log may say why")


class InputNotAsExpected(FailedPrecondition):
    """Rows of an input do not meet its expectations."""

    reason = "INPUT_EXPECTATIONS_NOT_MET"

    def __init__(self, name: str, dataset: str, version: int, failed: list[str]) -> None:
        shown = ", ".join(failed[:10]) + (f" and {len(failed) - 10} more" if len(failed) > 10 else "")
        message = f"input {name!r}: version {version} of dataset {dataset!r} does not meet {shown}; the job's `inputs` have the report"
        super().__init__(
            message, metadata={"input": name, "dataset": dataset, "version": str(version)}, preconditions=[("DATA", dataset, message)]
        )


class OutputStopped(FailedPrecondition):
    """Somebody cancelled the ingestion that wrote an output."""

    reason = "OUTPUT_INGESTION_CANCELLED"

    def __init__(self, dataset: str, ingestion_id: str) -> None:
        message = f"the ingestion {ingestion_id} into dataset {dataset!r} was cancelled by somebody else; retry the job"
        super().__init__(
            message, metadata={"dataset": dataset, "ingestion_id": ingestion_id}, preconditions=[("INGESTION", ingestion_id, message)]
        )


class JobNotRetryable(FailedPrecondition):
    """Only jobs that failed or were cancelled are taken again."""

    reason = "JOB_NOT_RETRYABLE"

    def __init__(self, job_id: str, state: str) -> None:
        message = f"the job {job_id} is {state}; FAILED and CANCELLED ones can be retried"
        super().__init__(message, metadata={"id": job_id, "state": state}, preconditions=[("JOB_STATE", job_id, message)])


class JobOfPipeline(FailedPrecondition):
    """What a pipeline does again, it does from where it stands."""

    reason = "JOB_OF_PIPELINE"

    def __init__(self, job_id: str, pipeline: str) -> None:
        message = f"the job {job_id} is of the pipeline {pipeline!r}; run or check that again, which goes on where its outputs stand"
        super().__init__(message, metadata={"id": job_id, "pipeline": pipeline}, preconditions=[("PIPELINE", pipeline, message)])


class TooManyTails(ResourceExhausted):
    """Too many callers follow logs."""

    reason = "TOO_MANY_LOG_TAILS"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} callers follow logs already (MLMESH_PROCESSING_CONCURRENT_LOG_TAILS); repeat the call, or read with ends_at_last_line",
            retry_after_s=5,
        )


class IngestionUnavailable(Unavailable):
    """The ingestion server does not answer, or does not let this one in."""

    reason = "INGESTION_UNAVAILABLE"
