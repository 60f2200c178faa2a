"""The contract of data ingestion: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from mlops.ingestion.v1 import dataset_pb2, ingestion_pb2, validation_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.ingestion_service_pb2_grpc import DataIngestionServiceServicer

from servers.ingestion import converters
from servers.ingestion.catalogue import DatasetCatalogue
from servers.ingestion.deleting import Deleting
from servers.ingestion.errors import DatasetBusy
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.records import Dataset
from servers.ingestion.request_sources import RequestSources
from servers.ingestion.requested import awaited, requested
from servers.ingestion.schemas.foreseeing import Foreseeing
from servers.ingestion.validating import Validating
from servers.ingestion.validation_requests import validated
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted
from servers.runtime.streams import wait_unless_ending

_DELETION_WAIT_S = 30.0
_DELETION_LOOK_S = 0.1
_DEFAULT_PREVIEW_ROWS = 50
_DEFAULT_RETENTION_S = 7 * 86400.0


class IngestionServicer(DataIngestionServiceServicer):
    """Serves `mlops.ingestion.v1.DataIngestionService`.

    Args:
        ingesting: Takes data in.
        catalogue: Datasets as they are and were.
        deleting: Deletes datasets.
        validating: Checks data.
        sources: Reads where data come from.
        foreseeing: Says what an ingestion would do.
        tables_url: Where the tables of datasets are.
        waiting: Calls that wait.
        clock: The time now.
    """

    def __init__(
        self,
        ingesting: Ingesting,
        catalogue: DatasetCatalogue,
        deleting: Deleting,
        validating: Validating,
        sources: RequestSources,
        foreseeing: Foreseeing,
        tables_url: str,
        waiting: WaitingCalls,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ingesting = ingesting
        self._catalogue = catalogue
        self._deleting = deleting
        self._validating = validating
        self._sources = sources
        self._foreseeing = foreseeing
        self._tables_url = tables_url
        self._waiting = waiting
        self._clock = clock

    def IngestData(self, request: pb.IngestDataRequest, context: Any) -> ingestion_pb2.Ingestion:
        started = self._ingesting.made_before(current_project())
        if started is None:
            source = self._sources.given(request.source)
            read = converters.read_options_from_proto(request.read, source)
            work = {"source": dict(source.described), "read": read, **converters.write_from_proto(request)}
            new = requested(request.dataset, source.shown, converters.mode_from_proto(request.mode), work, self._clock())
            if request.validate_only:
                foreseen = self._foreseeing.foreseen(new, source.given, current_principal(), check_still_wanted)
                return converters.ingestion_to_proto(foreseen)
            started = self._ingesting.start(new, source.given, source.upload_id)
        return converters.ingestion_to_proto(awaited(self._ingesting, started, request.wait))

    def GetIngestion(self, request: pb.GetIngestionRequest, context: Any) -> ingestion_pb2.Ingestion:
        return converters.ingestion_to_proto(self._ingesting.get(current_project(), request.id))

    def ListIngestions(self, request: pb.ListIngestionsRequest, context: Any) -> pb.ListIngestionsResponse:
        ingestions, token = self._ingesting.page(current_project(), converters.listing_from_proto(request))
        return pb.ListIngestionsResponse(ingestions=map(converters.ingestion_to_proto, ingestions), next_page_token=token)

    def CancelIngestion(self, request: pb.CancelIngestionRequest, context: Any) -> ingestion_pb2.Ingestion:
        return converters.ingestion_to_proto(self._ingesting.cancel(current_project(), request.id))

    def ValidateData(self, request: pb.ValidateDataRequest, context: Any) -> validation_pb2.ValidationReport:
        return converters.report_to_proto(validated(request, self._validating, self._sources))

    def GetDataset(self, request: pb.GetDatasetRequest, context: Any) -> dataset_pb2.Dataset:
        version = request.version if request.HasField("version") else None
        read_time = request.read_time.ToDatetime(tzinfo=UTC) if request.HasField("read_time") else None
        found = self._catalogue.get(current_project(), request.name, check_still_wanted, version=version, read_time=read_time)
        return self._told(found)

    def ListDatasets(self, request: pb.ListDatasetsRequest, context: Any) -> pb.ListDatasetsResponse:
        datasets, token = self._catalogue.page(current_project(), converters.listing_from_proto(request))
        return pb.ListDatasetsResponse(datasets=map(self._told, datasets), next_page_token=token)

    def ListDatasetVersions(self, request: pb.ListDatasetVersionsRequest, context: Any) -> pb.ListDatasetVersionsResponse:
        versions, token = self._catalogue.versions(
            current_project(), request.name, converters.listing_from_proto(request), check_still_wanted
        )
        return pb.ListDatasetVersionsResponse(versions=map(converters.dataset_version_to_proto, versions), next_page_token=token)

    def PreviewDataset(self, request: pb.PreviewDatasetRequest, context: Any) -> HttpBody:
        found = self._catalogue.preview(
            current_project(),
            request.name,
            check_still_wanted,
            version=request.version if request.HasField("version") else None,
            limit=request.limit or _DEFAULT_PREVIEW_ROWS,
            offset=request.skip_rows,
            columns=request.columns,
        )
        return HttpBody(content_type="application/json", data=orjson.dumps(found))

    def RollbackDataset(self, request: pb.RollbackDatasetRequest, context: Any) -> dataset_pb2.Dataset:
        return self._told(self._catalogue.rollback(current_project(), request.name, request.version, check_still_wanted))

    def CompactDataset(self, request: pb.CompactDatasetRequest, context: Any) -> pb.CompactDatasetResponse:
        done = self._catalogue.compact(current_project(), request.name, check_still_wanted)
        return pb.CompactDatasetResponse(version=done.version, removed_file_count=done.files_before, added_file_count=done.files_after)

    def VacuumDataset(self, request: pb.VacuumDatasetRequest, context: Any) -> pb.VacuumDatasetResponse:
        retention_s = request.retention.ToTimedelta().total_seconds() if request.HasField("retention") else _DEFAULT_RETENTION_S
        removed = self._catalogue.vacuum(current_project(), request.name, retention_s, check_still_wanted)
        return pb.VacuumDatasetResponse(removed_file_count=removed)

    def SuggestExpectations(self, request: pb.SuggestExpectationsRequest, context: Any) -> pb.SuggestExpectationsResponse:
        version = request.version if request.HasField("version") else None
        suite = self._validating.suggested(current_project(), request.name, version, check_still_wanted)
        return pb.SuggestExpectationsResponse(suite=converters.suite_to_proto(suite))

    def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Any) -> Empty:
        task_id = self._deleting.start(current_project(), request.name)
        with self._waiting.place() as may_wait:
            for _ in range(int(_DELETION_WAIT_S / _DELETION_LOOK_S) if may_wait else 1):
                if self._deleting.is_done(task_id):
                    return Empty()
                if not wait_unless_ending(_DELETION_LOOK_S):
                    break
        raise DatasetBusy(request.name, "it is going to be deleted once nobody writes to it")

    def _told(self, dataset: Dataset) -> dataset_pb2.Dataset:
        return converters.dataset_to_proto(dataset, self._tables_url)
