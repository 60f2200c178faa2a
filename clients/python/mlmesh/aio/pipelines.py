"""Pipelines: named computations that run again and again, as far as possible over what has changed alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc.aio
from mlops.processing.v1 import pipeline_pb2, pipeline_service_pb2, pipeline_service_pb2_grpc, processing_job_pb2

from mlmesh.aio.blocking import run_blocking
from mlmesh.aio.calls import Caller
from mlmesh.aio.pages import Pager
from mlmesh.aio.processing import ProcessingClient
from mlmesh.fields import enum_value, given, mask_of
from mlmesh.patience import Patience
from mlmesh.pipeline_specs import PipelineSpec, pipeline_spec_message
from mlmesh.pipelines import (
    OutputQuality,
    Pipeline,
    PipelineVersion,
    QualityAlert,
    alert_value,
    pipeline_value,
    pipeline_version_value,
    quality_value,
)
from mlmesh.processing_jobs import ProcessingJob, job_value


class PipelinesClient:
    """Keeps pipelines, and runs them.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = pipeline_service_pb2_grpc.PipelineServiceStub(channel)
        self._caller = caller
        self._processing = ProcessingClient(channel, caller)

    async def run(
        self, name: str, *, mode: str = "incremental", project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> ProcessingJob:
        """Brings the outputs of a pipeline up to date, and waits until they are.

        Args:
            name: Its name.
            mode: `incremental`, what has changed as far as the pipeline can, or `full`. The job's `run_mode` and `full_reason` say what
                was done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.AlreadyExists: A job runs it.
            mlmesh.errors.ProcessingFailed: The run failed, or was cancelled.
            mlmesh.errors.ProcessingUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        job = await self.run_pipeline(name, mode=mode, project=project, request_id=request_id, timeout_s=timeout_s)
        return await self._processing.wait_for_processing_job(job.id, project=project, timeout_s=patience.left_s())

    async def check(
        self,
        name: str,
        *,
        relative_tolerance: float | None = None,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> ProcessingJob:
        """Computes everything anew from the versions that the outputs of a pipeline are made of, compares, and writes nothing.

        Args:
            name: Its name.
            relative_tolerance: Greatest difference of floating-point numbers that count as equal, as a share of the greater; None = 1e-9.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Returns:
            The job, whose `check` says what was found.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: It has not run.
            mlmesh.errors.ProcessingFailed: The check failed, or was cancelled.
            mlmesh.errors.ProcessingUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        job = await self.check_pipeline(
            name, relative_tolerance=relative_tolerance, project=project, request_id=request_id, timeout_s=timeout_s
        )
        return await self._processing.wait_for_processing_job(job.id, project=project, timeout_s=patience.left_s())

    async def create_pipeline(
        self,
        name: str,
        spec: PipelineSpec | Mapping[str, Any],
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Pipeline:
        """Makes a pipeline. It is checked whole, as a job is; nothing runs yet.

        Args:
            name: Its name: 1 to 127 letters, digits, `_` and `-`.
            spec: What it is to do; a mapping has the contract's own form in JSON.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            validate_only: Whether the pipeline is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: It cannot be run; the message names the step.
            mlmesh.errors.NotFound: There is no such dataset.
        """
        request = pipeline_service_pb2.CreatePipelineRequest(
            name=name,
            spec=await run_blocking(pipeline_spec_message, spec),
            display_name=display_name,
            description=description,
            labels=labels or {},
            validate_only=validate_only,
            project=project,
            request_id=request_id,
        )
        return pipeline_value(await self._caller.unary(self._stub.CreatePipeline, request, timeout_s=timeout_s))

    async def get_pipeline(self, name: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None) -> Pipeline:
        """Returns a pipeline, as it is or as a version of it was.

        Args:
            name: Its name.
            version: Its version; None = the newest.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = pipeline_service_pb2.GetPipelineRequest(name=name, version=version, project=project)
        return pipeline_value(await self._caller.unary(self._stub.GetPipeline, request, timeout_s=timeout_s))

    def list_pipelines(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Pipeline]:
        """Lists pipelines by name unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `name`, `display_name`, `labels.<key>`, `creator`, `create_time` and `update_time`.
            order_by: Of `name`, `create_time` and `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = pipeline_service_pb2.ListPipelinesRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListPipelines, request, "pipelines", timeout_s, pipeline_value)

    async def update_pipeline(
        self,
        name: str,
        *,
        spec: PipelineSpec | Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        validate_only: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> Pipeline:
        """Changes a pipeline. What is None stays. Another spec is another version; where it computes something else, the next run is full.

        Args:
            name: Its name.
            spec: What it is to do.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            validate_only: Whether the pipeline is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.Aborted: Somebody changed it.
            mlmesh.errors.InvalidArgument: It cannot be run; the message names the step.
        """
        message = await run_blocking(pipeline_spec_message, spec) if spec is not None else None
        changes = given(spec=message, display_name=display_name, description=description, labels=labels)
        pipeline = pipeline_pb2.Pipeline(name=name, project=project, etag=etag, **changes)
        request = pipeline_service_pb2.UpdatePipelineRequest(pipeline=pipeline, update_mask=mask_of(changes), validate_only=validate_only)
        return pipeline_value(await self._caller.unary(self._stub.UpdatePipeline, request, timeout_s=timeout_s))

    async def delete_pipeline(self, name: str, *, etag: str = "", project: str = "", timeout_s: float | None = None) -> None:
        """Deletes a pipeline with its versions, statistics and alerts. Its jobs and the datasets that it wrote stay.

        Args:
            name: Its name.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: A job runs it.
        """
        request = pipeline_service_pb2.DeletePipelineRequest(name=name, etag=etag, project=project)
        await self._caller.unary(self._stub.DeletePipeline, request, timeout_s=timeout_s)

    def list_pipeline_versions(
        self,
        name: str,
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[PipelineVersion]:
        """Lists the versions of a pipeline, the newest first unless ordered otherwise.

        Args:
            name: Its name.
            filter: AIP-160 filter over `version`, `creator` and `create_time`.
            order_by: `version`, with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = pipeline_service_pb2.ListPipelineVersionsRequest(
            name=name, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._stub.ListPipelineVersions, request, "versions", timeout_s, pipeline_version_value)

    async def run_pipeline(
        self, name: str, *, mode: str = "", project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> ProcessingJob:
        """Has the mesh run a pipeline, and does not wait for it.

        Args:
            name: Its name.
            mode: `incremental` or `full`; empty = `incremental`.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.AlreadyExists: A job runs it; the error's metadata has its `job_id`.
        """
        request = pipeline_service_pb2.RunPipelineRequest(
            name=name, mode=enum_value(processing_job_pb2.RunMode, mode or "unspecified"), project=project, request_id=request_id
        )
        return job_value(await self._caller.unary(self._stub.RunPipeline, request, timeout_s=timeout_s))

    async def check_pipeline(
        self,
        name: str,
        *,
        relative_tolerance: float | None = None,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> ProcessingJob:
        """Has the mesh check a pipeline, and does not wait for it.

        Args:
            name: Its name.
            relative_tolerance: Greatest difference of floating-point numbers that count as equal, as a share of the greater; None = 1e-9.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: It has not run.
        """
        request = pipeline_service_pb2.CheckPipelineRequest(
            name=name, relative_tolerance=relative_tolerance, project=project, request_id=request_id
        )
        return job_value(await self._caller.unary(self._stub.CheckPipeline, request, timeout_s=timeout_s))

    def list_output_quality(
        self,
        name: str,
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[OutputQuality]:
        """Lists the statistics of the outputs after each run, the newest first unless ordered otherwise.

        Args:
            name: Name of the pipeline.
            filter: AIP-160 filter over `dataset`, `version` and `create_time`.
            order_by: `create_time`, with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = pipeline_service_pb2.ListOutputQualityRequest(
            name=name, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._stub.ListOutputQuality, request, "quality", timeout_s, quality_value)

    def list_quality_alerts(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[QualityAlert]:
        """Lists alerts of all pipelines, the newest first unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `pipeline`, `rule`, `dataset`, `state`, `create_time` and `resolve_time`, for example
                `state = "OPEN"`.
            order_by: `create_time`, with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = pipeline_service_pb2.ListQualityAlertsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListQualityAlerts, request, "alerts", timeout_s, alert_value)
