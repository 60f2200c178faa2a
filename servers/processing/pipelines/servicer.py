"""The contract of pipelines: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty
from mlops.processing.v1 import pipeline_pb2
from mlops.processing.v1 import pipeline_service_pb2 as pb
from mlops.processing.v1.pipeline_service_pb2_grpc import PipelineServiceServicer
from mlops.processing.v1.processing_job_pb2 import ProcessingJob

from servers.processing.converters import job_to_proto, listing_from_proto
from servers.processing.pipelines import converters
from servers.processing.pipelines.pipelines import PipelineManagement
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted


class PipelineServicer(PipelineServiceServicer):
    """Serves `mlops.processing.v1.PipelineService`.

    Args:
        pipelines: Makes, changes and runs pipelines.
    """

    def __init__(self, pipelines: PipelineManagement) -> None:
        self._pipelines = pipelines

    def CreatePipeline(self, request: pb.CreatePipelineRequest, context: Any) -> pipeline_pb2.Pipeline:
        wanted = converters.request_from_proto(request, current_project())
        made = self._pipelines.create(wanted, current_principal(), check_still_wanted, is_kept=not request.validate_only)
        return converters.pipeline_to_proto(made)

    def GetPipeline(self, request: pb.GetPipelineRequest, context: Any) -> pipeline_pb2.Pipeline:
        version = request.version if request.HasField("version") else None
        return converters.pipeline_to_proto(self._pipelines.get(current_project(), request.name, version))

    def ListPipelines(self, request: pb.ListPipelinesRequest, context: Any) -> pb.ListPipelinesResponse:
        found, token = self._pipelines.page(current_project(), listing_from_proto(request))
        return pb.ListPipelinesResponse(pipelines=map(converters.pipeline_to_proto, found), next_page_token=token)

    def UpdatePipeline(self, request: pb.UpdatePipelineRequest, context: Any) -> pipeline_pb2.Pipeline:
        changed = self._pipelines.update(
            current_project(),
            request.pipeline.name,
            converters.changes_from_proto(request),
            current_principal(),
            check_still_wanted,
            etag=request.pipeline.etag,
            is_kept=not request.validate_only,
        )
        return converters.pipeline_to_proto(changed)

    def DeletePipeline(self, request: pb.DeletePipelineRequest, context: Any) -> Empty:
        self._pipelines.delete(current_project(), request.name, etag=request.etag)
        return Empty()

    def ListPipelineVersions(self, request: pb.ListPipelineVersionsRequest, context: Any) -> pb.ListPipelineVersionsResponse:
        found, token = self._pipelines.versions(current_project(), request.name, listing_from_proto(request))
        return pb.ListPipelineVersionsResponse(versions=map(converters.version_to_proto, found), next_page_token=token)

    def RunPipeline(self, request: pb.RunPipelineRequest, context: Any) -> ProcessingJob:
        mode = converters.mode_from_proto(request)
        return job_to_proto(self._pipelines.run(current_project(), request.name, mode, current_principal(), check_still_wanted))

    def CheckPipeline(self, request: pb.CheckPipelineRequest, context: Any) -> ProcessingJob:
        tolerance = converters.tolerance_from_proto(request)
        return job_to_proto(self._pipelines.check(current_project(), request.name, tolerance, current_principal(), check_still_wanted))

    def ListOutputQuality(self, request: pb.ListOutputQualityRequest, context: Any) -> pb.ListOutputQualityResponse:
        found, token = self._pipelines.quality(current_project(), request.name, listing_from_proto(request))
        return pb.ListOutputQualityResponse(quality=map(converters.quality_to_proto, found), next_page_token=token)

    def ListQualityAlerts(self, request: pb.ListQualityAlertsRequest, context: Any) -> pb.ListQualityAlertsResponse:
        found, token = self._pipelines.alerts(current_project(), listing_from_proto(request))
        return pb.ListQualityAlertsResponse(alerts=map(converters.alert_to_proto, found), next_page_token=token)
