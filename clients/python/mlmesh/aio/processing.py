"""Data processing: jobs that make rows of datasets into rows of datasets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

import grpc.aio
from mlops.processing.v1 import processing_service_pb2, processing_service_pb2_grpc

from mlmesh.aio.blocking import pause, run_blocking
from mlmesh.aio.calls import Caller
from mlmesh.aio.pages import Pager
from mlmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    MeshError,
    ProcessingFailed,
    ProcessingUnfinished,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
from mlmesh.job_specs import Inputs, JobResources, JobSpec, Outputs, spec_message
from mlmesh.log_lines import LogLine, log_line_value
from mlmesh.patience import Patience
from mlmesh.processing_jobs import JobExplanation, ProcessingJob, ProcessingStatus, explanation_value, job_value, status_value
from mlmesh.statuses import error_of_status

# A log may be silent for as long as its job runs; then the stream is made again.
_LOG_STREAM_S = 3600.0
# What breaks off sooner was perhaps never there.
_SHORTEST_SILENCE_S = 5.0


class ProcessingClient:
    """Runs jobs, and tells of them.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = processing_service_pb2_grpc.DataProcessingServiceStub(channel)
        self._caller = caller

    async def run(
        self,
        sql: str = "",
        *,
        inputs: Inputs,
        outputs: Outputs,
        engine: str = "local",
        resources: JobResources | None = None,
        priority: int = 0,
        max_attempts: int = 0,
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> ProcessingJob:
        """Runs a job, and waits until its outputs are written.

        ```python
        late = mlmesh.plan.scan("flights").filter("delay > 15").aggregate(by="carrier", flights="count(*)")
        mesh.processing.run(inputs={"flights": "flights"}, outputs={"late_by_carrier": late})
        mesh.processing.run("SELECT carrier, count(*) AS n FROM flights GROUP BY carrier", inputs={"flights": "flights"}, outputs="counts")
        ```

        The job is checked whole before it is taken, down to the type of every column. From then on it outlives this call, this program and
        the server: whoever stops waiting finds it again with `get_processing_job`.

        Args:
            sql: One SELECT over the inputs, as DuckDB reads it, instead of relations.
            inputs: Datasets by the name by which the plan reads them: `"flights"`, `("flights", 3)` for a version, or a `JobInput`.
            outputs: Relations, as `mlmesh.plan` makes them, or `JobOutput`s by the dataset that they are written to. With `sql` the name of
                the dataset is enough. A dataset is made where there is none, and its rows are replaced unless a `JobOutput` says
                otherwise.
            engine: What runs it: `local`, `ray`, `dask` or `spark`.
            resources: What it may use; None = the server's default.
            priority: Which of the jobs that wait begins first: the highest, and of equal ones the oldest; from -100 to 100.
            max_attempts: Attempts, where one fails for a reason that may pass, such as a lost worker; 0 = 3.
            display_name: Its name, for people.
            labels: Labels.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` the deadline of the call; None
                = the connection's.

        Returns:
            The job, succeeded; without `wait` as it is after the mesh has taken it.

        Raises:
            mlmesh.errors.InvalidArgument: The job cannot be run; the message names the step.
            mlmesh.errors.NotFound: There is no such dataset or version.
            mlmesh.errors.ProcessingFailed: It failed, or was cancelled.
            mlmesh.errors.ProcessingUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        spec = JobSpec(
            inputs=inputs,
            outputs=outputs,
            sql=sql,
            engine=engine,
            resources=resources,
            priority=priority,
            max_attempts=max_attempts,
        )
        patience = Patience(timeout_s)
        accepted = await self.create_processing_job(
            spec, display_name=display_name, labels=labels, project=project, request_id=request_id, timeout_s=timeout_s
        )
        return await self._wait(accepted, patience, project) if wait else accepted

    async def create_processing_job(
        self,
        spec: JobSpec | Mapping[str, Any],
        *,
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> ProcessingJob:
        """Has the mesh take a job, and does not wait for it.

        Args:
            spec: What it is to do; a mapping has the contract's own form in JSON, as `spec` of a job.
            display_name: Its name, for people.
            labels: Labels.
            validate_only: Whether the job is checked alone. The answer, which is not kept, is what would be taken.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.InvalidArgument: The job cannot be run; the message names the step.
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = processing_service_pb2.CreateProcessingJobRequest(
            spec=await run_blocking(spec_message, spec),
            project=project,
            display_name=display_name,
            labels=labels or {},
            validate_only=validate_only,
            request_id=request_id,
        )
        return job_value(await self._caller.unary(self._stub.CreateProcessingJob, request, timeout_s=timeout_s))

    async def wait_for_processing_job(self, job_id: str, *, project: str = "", timeout_s: float | None = None) -> ProcessingJob:
        """Waits until a job is done.

        Args:
            job_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Returns:
            The job, succeeded.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.ProcessingFailed: It failed, or was cancelled.
            mlmesh.errors.ProcessingUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        return await self._wait(await self._look(job_id, patience, project), patience, project)

    async def get_processing_job(self, job_id: str, *, project: str = "", timeout_s: float | None = None) -> ProcessingJob:
        """Returns a job as it is now.

        Args:
            job_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = processing_service_pb2.GetProcessingJobRequest(id=job_id, project=project)
        return job_value(await self._caller.unary(self._stub.GetProcessingJob, request, timeout_s=timeout_s))

    def list_processing_jobs(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[ProcessingJob]:
        """Lists jobs, the newest first unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `state`, `engine`, `display_name`, `labels.<key>`, `pipeline`, `creator`, `create_time` and
                `end_time`, for example `state = "FAILED" AND labels.team = "a"`.
            order_by: Of `create_time` and `display_name`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = processing_service_pb2.ListProcessingJobsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListProcessingJobs, request, "jobs", timeout_s, job_value)

    async def cancel_processing_job(self, job_id: str, *, project: str = "", timeout_s: float | None = None) -> ProcessingJob:
        """Stops a job that has not ended. Outputs that were written stay; a job that has ended stays as it is.

        Args:
            job_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The job, which may be cancelling for a while.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = processing_service_pb2.CancelProcessingJobRequest(id=job_id, project=project)
        return job_value(await self._caller.unary(self._stub.CancelProcessingJob, request, timeout_s=timeout_s))

    async def retry_processing_job(
        self, job_id: str, *, project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> ProcessingJob:
        """Has the mesh take the same job again: one that failed or was cancelled, over the same versions of its inputs.

        Args:
            job_id: Its identifier.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            A new job, with the other in `retry_of`.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: It has not ended, or has succeeded.
        """
        request = processing_service_pb2.RetryProcessingJobRequest(id=job_id, project=project, request_id=request_id)
        return job_value(await self._caller.unary(self._stub.RetryProcessingJob, request, timeout_s=timeout_s))

    async def tail_processing_job_logs(
        self, job_id: str, *, follow: bool = True, project: str = "", timeout_s: float = 60.0
    ) -> AsyncIterator[LogLine]:
        """Yields the lines of a job's log, each once, also where the connection breaks off in between.

        Args:
            job_id: Its identifier.
            follow: Whether to go on until the job has ended; else the lines that there are.
            project: Project; empty = `default`.
            timeout_s: Longest time in which the mesh cannot be reached, in seconds.

        Raises:
            mlmesh.errors.NotFound: There is no such job.
        """
        request = processing_service_pb2.TailProcessingJobLogsRequest(id=job_id, project=project, ends_at_last_line=not follow)
        patience = Patience(timeout_s)
        while True:
            began = monotonic()
            try:
                async for answer in self._caller.stream(self._stub.TailProcessingJobLogs, request, timeout_s=_LOG_STREAM_S):
                    patience, began = Patience(timeout_s), monotonic()
                    if answer.HasField("end"):
                        if answer.end.status.code:
                            raise error_of_status(answer.end.status)
                        return
                    request.cursor = answer.lines.cursor
                    for line in answer.lines.lines:
                        yield log_line_value(line)
                # Only the answer `end` says that there is no more.
                raise Unavailable("the log broke off", reason="STREAM_BROKEN_OFF")
            except MeshError as error:
                if not _may_pass(error):
                    raise
                # A log that was silent before it broke off says nothing of how long the mesh was away.
                if monotonic() - began > _SHORTEST_SILENCE_S and await self._is_there(job_id, project):
                    patience = Patience(timeout_s)
                pause_s = patience.next_pause_s()
                if pause_s is None:
                    raise
                await pause(max(pause_s, error.retry_after_s or 0.0))

    async def explain_processing_job(
        self, spec: JobSpec | Mapping[str, Any], *, project: str = "", timeout_s: float | None = None
    ) -> JobExplanation:
        """Says how a job would run: its plan, columns, stages and what it is estimated to take. Nothing is computed.

        Args:
            spec: What it is to do, as for `create_processing_job`.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.InvalidArgument: The job cannot be run; the message names the step.
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = processing_service_pb2.ExplainProcessingJobRequest(spec=await run_blocking(spec_message, spec), project=project)
        return explanation_value(await self._caller.unary(self._stub.ExplainProcessingJob, request, timeout_s=timeout_s))

    async def get_processing_status(self, job_id: str = "", *, project: str = "", timeout_s: float | None = None) -> ProcessingStatus:
        """Says which engines can be used, which jobs wait, and which run.

        Args:
            job_id: A job, of which the answer says how it stands; empty = none.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such job.
        """
        request = processing_service_pb2.GetProcessingStatusRequest(project=project, job_id=job_id)
        return status_value(await self._caller.unary(self._stub.GetProcessingStatus, request, timeout_s=timeout_s))

    async def _wait(self, job: ProcessingJob, patience: Patience, project: str) -> ProcessingJob:
        while not job.is_done:
            pause_s = patience.next_pause_s()
            if pause_s is None:
                raise ProcessingUnfinished(job)
            await pause(pause_s)
            try:
                job = await self._look(job.id, patience, project)
            except DeadlineExceeded as error:
                raise ProcessingUnfinished(job) from error
            except MeshError as error:
                # Whoever waits for what he has just begun has its name from nowhere else.
                error.metadata["job_id"] = job.id
                raise
        if not job.is_successful:
            raise ProcessingFailed(job)
        return job

    async def _look(self, job_id: str, patience: Patience, project: str) -> ProcessingJob:
        most_s = self._caller.deadline_s(processing_service_pb2.GetProcessingJobRequest, None)
        return await self.get_processing_job(job_id, project=project, timeout_s=patience.look_s(most_s))

    async def _is_there(self, job_id: str, project: str) -> bool:
        """Whether the mesh tells of a job."""
        try:
            await self.get_processing_job(job_id, project=project)
        except MeshError as error:
            if not _may_pass(error):
                raise
            return False
        return True


def _may_pass(error: MeshError) -> bool:
    """Whether another attempt may succeed: the mesh says so, or it is no error of the mesh but of the way to it."""
    is_of_the_way = not error.reason and isinstance(error, Cancelled | Internal | Unknown)
    return isinstance(error, DeadlineExceeded | ResourceExhausted | Unavailable) or error.retry_after_s is not None or is_of_the_way
