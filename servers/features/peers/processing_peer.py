"""The processing server, which computes views and training sets: the only module of features that calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from mlops.processing.v1 import pipeline_pb2, pipeline_service_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb
from mlops.processing.v1.pipeline_service_pb2_grpc import PipelineServiceStub
from mlops.processing.v1.processing_service_pb2_grpc import DataProcessingServiceStub

from servers.features.peers.calling import asked
from servers.features.peers.errors import ProcessingUnavailable
from servers.runtime.peer_calls import Check, PeerCalls

SERVICES = ("mlops.processing.v1.DataProcessingService", "mlops.processing.v1.PipelineService")


class ProcessingPeer:
    """Asks the processing server, as the mesh's own account: whoever calls this has looked at the rights of the caller before.

    Args:
        channel: With the credentials of the mesh's service account; None where nobody has said where the server is.
        patience_s: How long to wait for a server that does not answer, where a job does, in seconds.
    """

    def __init__(self, channel: grpc.Channel | None, patience_s: float) -> None:
        self._jobs = None if channel is None else DataProcessingServiceStub(channel)
        self._pipelines = None if channel is None else PipelineServiceStub(channel)
        self._calls = PeerCalls("processing", "features", ProcessingUnavailable, patience_s)

    def explain(self, project: str, spec: job_pb.JobSpec) -> job_pb.JobExplanation:
        """Says how a job would run: its steps with their columns.

        Raises:
            OperationFailed: What is wrong with it.
            ProcessingUnavailable: The server does not answer.
        """
        request = pb.ExplainProcessingJobRequest(project=project, spec=spec)
        found: job_pb.JobExplanation = self._calls.answered(lambda: self._served.ExplainProcessingJob(request))
        return found

    def check_job(self, project: str, spec: job_pb.JobSpec) -> job_pb.ProcessingJob:
        """Says whether a job would be taken, its outputs included; see `explain`."""
        request = pb.CreateProcessingJobRequest(project=project, spec=spec, validate_only=True)
        found: job_pb.ProcessingJob = self._calls.answered(lambda: self._served.CreateProcessingJob(request))
        return found

    def create_job(
        self,
        project: str,
        spec: job_pb.JobSpec,
        display_name: str,
        request_id: str,
        labels: Mapping[str, str],
        check: Check | None = None,
    ) -> job_pb.ProcessingJob:
        """Has a job taken, once.

        Args:
            project: Where.
            spec: What it does.
            display_name: For people.
            request_id: A UUID; a repeat with the same one gives the same job.
            labels: Labels.
            check: Of a job here; see `asked`.
        """
        request = pb.CreateProcessingJobRequest(project=project, spec=spec, display_name=display_name, request_id=request_id, labels=labels)
        found: job_pb.ProcessingJob = asked(self._calls, lambda: self._served.CreateProcessingJob(request), check)
        return found

    def job(self, project: str, job_id: str, check: Check | None = None) -> job_pb.ProcessingJob:
        """Returns a job as it stands."""
        request = pb.GetProcessingJobRequest(project=project, id=job_id)
        found: job_pb.ProcessingJob = asked(self._calls, lambda: self._served.GetProcessingJob(request), check)
        return found

    def cancel(self, project: str, job_id: str) -> job_pb.ProcessingJob:
        """Has a job stopped."""
        request = pb.CancelProcessingJobRequest(project=project, id=job_id)
        found: job_pb.ProcessingJob = self._calls.answered(lambda: self._served.CancelProcessingJob(request))
        return found

    def create_pipeline(
        self,
        project: str,
        name: str,
        spec: pipeline_pb2.PipelineSpec,
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        request_id: str = "",
    ) -> pipeline_pb2.Pipeline:
        """Makes a pipeline, or checks it alone.

        Raises:
            OperationFailed: What is wrong with it; ALREADY_EXISTS: there is one of the name.
            ProcessingUnavailable: The server does not answer.
        """
        request = pipeline_service_pb2.CreatePipelineRequest(
            project=project,
            name=name,
            spec=spec,
            display_name=display_name,
            description=description,
            labels=labels or {},
            validate_only=validate_only,
            request_id=request_id,
        )
        found: pipeline_pb2.Pipeline = self._calls.answered(lambda: self._served_pipelines.CreatePipeline(request))
        return found

    def pipeline(self, project: str, name: str) -> pipeline_pb2.Pipeline:
        """Returns a pipeline.

        Raises:
            OperationFailed: NOT_FOUND: there is none.
            ProcessingUnavailable: The server does not answer.
        """
        request = pipeline_service_pb2.GetPipelineRequest(project=project, name=name)
        found: pipeline_pb2.Pipeline = self._calls.answered(lambda: self._served_pipelines.GetPipeline(request))
        return found

    def run_pipeline(
        self, project: str, name: str, mode: job_pb.RunMode.ValueType, request_id: str, check: Check | None = None
    ) -> job_pb.ProcessingJob:
        """Begins a run of a pipeline.

        Args:
            project: Of the pipeline.
            name: Its name.
            mode: How much is computed.
            request_id: A UUID; a repeat with the same one gives the same run.
            check: Of a job here; see `asked`.
        """
        request = pipeline_service_pb2.RunPipelineRequest(project=project, name=name, mode=mode, request_id=request_id)
        found: job_pb.ProcessingJob = asked(self._calls, lambda: self._served_pipelines.RunPipeline(request), check)
        return found

    def delete_pipeline(self, project: str, name: str) -> None:
        """Deletes a pipeline; its datasets stay.

        Raises:
            OperationFailed: NOT_FOUND: there is none; FAILED_PRECONDITION: it runs.
            ProcessingUnavailable: The server does not answer.
        """
        request = pipeline_service_pb2.DeletePipelineRequest(project=project, name=name)
        self._calls.answered(lambda: self._served_pipelines.DeletePipeline(request))

    @property
    def _served(self) -> Any:
        if self._jobs is None:
            raise ProcessingUnavailable("processing_address (MLMESH_FEATURES_PROCESSING_ADDRESS or MLMESH_PROCESSING_ADDRESS) is not set")
        return self._jobs

    @property
    def _served_pipelines(self) -> Any:
        self._served  # noqa: B018 (says what is missing)
        return self._pipelines
