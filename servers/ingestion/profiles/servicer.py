"""The contract of profiles: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from typing import Any

from google.api.httpbody_pb2 import HttpBody
from mlops.ingestion.v1 import profile_service_pb2 as pb
from mlops.ingestion.v1.profile_service_pb2_grpc import DatasetProfileServiceServicer

from servers.ingestion.ingesting import Ingesting
from servers.ingestion.profiles import converters
from servers.ingestion.profiles.profiling import Profiling
from servers.ingestion.request_sources import RequestSources
from servers.ingestion.validating import Validating
from servers.ingestion.validation_requests import validated
from servers.runtime.auth import current_project
from servers.runtime.still_wanted import check_still_wanted


class ProfileServicer(DatasetProfileServiceServicer):
    """Serves `mlops.ingestion.v1.DatasetProfileService`.

    Args:
        profiling: Describes datasets.
        ingesting: Knows ingestions.
        validating: Checks data.
        sources: Reads where data come from.
    """

    def __init__(self, profiling: Profiling, ingesting: Ingesting, validating: Validating, sources: RequestSources) -> None:
        self._profiling = profiling
        self._ingesting = ingesting
        self._validating = validating
        self._sources = sources

    def GetDatasetProfile(self, request: pb.GetDatasetProfileRequest, context: Any) -> pb.DatasetProfile:
        version = request.version if request.HasField("version") else None
        return converters.profile_to_proto(self._profiling.profile(current_project(), request.dataset, version, check_still_wanted))

    def RenderDatasetProfile(self, request: pb.RenderDatasetProfileRequest, context: Any) -> HttpBody:
        version = request.version if request.HasField("version") else None
        return converters.page_to_proto(self._profiling.profile_page(current_project(), request.dataset, version, check_still_wanted))

    def RenderIngestion(self, request: pb.RenderIngestionRequest, context: Any) -> HttpBody:
        found = self._ingesting.get(current_project(), request.id)
        return converters.page_to_proto(self._profiling.ingestion_page(converters.ingestion_object(found), check_still_wanted))

    def RenderValidation(self, request: pb.RenderValidationRequest, context: Any) -> HttpBody:
        page = validated(request.validation, self._validating, self._sources, operation="render_validation")
        return converters.page_to_proto(page)
