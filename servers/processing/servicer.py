"""The contract of data processing: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb
from mlops.processing.v1.processing_service_pb2_grpc import DataProcessingServiceServicer

from servers.processing import converters
from servers.processing.jobs.checking import Checking
from servers.processing.jobs.jobs import Processing
from servers.processing.jobs.status import ProcessingStatus
from servers.processing.jobs.tailing import Tailing
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted
from servers.runtime.streams import wait_unless_ending, with_end


class ProcessingServicer(DataProcessingServiceServicer):
    """Serves `mlops.processing.v1.DataProcessingService`.

    Args:
        processing: Takes jobs.
        checking: Says how they would run.
        tailing: Follows logs.
        status: Says how processing stands, for a project and a job.
    """

    def __init__(
        self, processing: Processing, checking: Checking, tailing: Tailing, status: Callable[[str, str], ProcessingStatus]
    ) -> None:
        self._processing = processing
        self._checking = checking
        self._tailing = tailing
        self._status = status

    def CreateProcessingJob(self, request: pb.CreateProcessingJobRequest, context: Any) -> job_pb.ProcessingJob:
        wanted = converters.request_from_proto(request, current_project())
        take = self._processing.foreseen if request.validate_only else self._processing.create
        return converters.job_to_proto(take(wanted, current_principal(), check_still_wanted))

    def GetProcessingJob(self, request: pb.GetProcessingJobRequest, context: Any) -> job_pb.ProcessingJob:
        return converters.job_to_proto(self._processing.get(current_project(), request.id))

    def ListProcessingJobs(self, request: pb.ListProcessingJobsRequest, context: Any) -> pb.ListProcessingJobsResponse:
        jobs, token = self._processing.page(current_project(), converters.listing_from_proto(request))
        return pb.ListProcessingJobsResponse(jobs=map(converters.job_to_proto, jobs), next_page_token=token)

    def CancelProcessingJob(self, request: pb.CancelProcessingJobRequest, context: Any) -> job_pb.ProcessingJob:
        return converters.job_to_proto(self._processing.cancel(current_project(), request.id))

    def RetryProcessingJob(self, request: pb.RetryProcessingJobRequest, context: Any) -> job_pb.ProcessingJob:
        return converters.job_to_proto(self._processing.retry(current_project(), request.id, current_principal(), check_still_wanted))

    def TailProcessingJobLogs(self, request: pb.TailProcessingJobLogsRequest, context: Any) -> Iterator[pb.TailProcessingJobLogsResponse]:
        pages = self._tailing.lines(current_project(), request.id, request.cursor, request.ends_at_last_line, wait_unless_ending)
        return with_end(map(converters.lines_to_proto, pages), pb.TailProcessingJobLogsResponse)

    def ExplainProcessingJob(self, request: pb.ExplainProcessingJobRequest, context: Any) -> job_pb.JobExplanation:
        explained = self._checking.explained(request.spec, current_project(), current_principal(), check_still_wanted)
        return converters.explanation_to_proto(explained)

    def GetProcessingStatus(self, request: pb.GetProcessingStatusRequest, context: Any) -> pb.ProcessingStatus:
        return converters.status_to_proto(self._status(current_project(), request.job_id.lower()))
