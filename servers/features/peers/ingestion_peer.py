"""The ingestion server, which has the datasets: the only module of features that calls it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import orjson
from mlops.ingestion.v1 import ingestion_pb2, profile_service_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.ingestion_service_pb2_grpc import DataIngestionServiceStub
from mlops.ingestion.v1.profile_service_pb2_grpc import DatasetProfileServiceStub

from servers.features.peers.calling import asked
from servers.features.peers.errors import IngestionUnavailable
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check, PeerCalls, wait

SERVICES = ("mlops.ingestion.v1.DataIngestionService", "mlops.ingestion.v1.DatasetProfileService")

DATASET_NOT_FOUND = "DATASET_NOT_FOUND"
"""Reason of the error where there is no dataset of a name."""

_VERSIONS = 1000
_PAGE_SIZE = 1000
_LOOK_S = 0.1
_FILE = "push-"
"""What the names of files begin with, so that it is known later what became of them; the rest is the request id."""


@dataclass(frozen=True)
class PinnedDataset:
    """A version of a dataset.

    Args:
        name: Of the dataset.
        version: The version.
        uri: Of its table.
        columns: Names and types of its columns as Arrow writes them, in order.
        create_time: When the dataset was first written.
        update_time: When the version was written: the same whenever somebody asks.
        row_count: Its rows.
    """

    name: str
    version: int
    uri: str
    columns: tuple[tuple[str, str], ...] = ()
    create_time: datetime = field(default=datetime.fromtimestamp(0, UTC))
    update_time: datetime = field(default=datetime.fromtimestamp(0, UTC))
    row_count: int = 0

    def type_of(self, column: str) -> str | None:
        """The type of a column; None where there is none of this name."""
        return dict(self.columns).get(column)


class IngestionPeer:
    """Asks the ingestion server.

    Args:
        channel: With the credentials of the mesh's service account; None where nobody has said where the server is.
        patience_s: How long to wait for a server that does not answer, where a job does, in seconds.
    """

    def __init__(self, channel: grpc.Channel | None, patience_s: float) -> None:
        self._data = None if channel is None else DataIngestionServiceStub(channel)
        self._profiles = None if channel is None else DatasetProfileServiceStub(channel)
        self._calls = PeerCalls("ingestion", "features", IngestionUnavailable, patience_s)

    def dataset(self, project: str, name: str, version: int | None = None, check: Check | None = None) -> PinnedDataset:
        """Returns a version of a dataset; the newest where none is named.

        Args:
            project: Its project.
            name: Its name.
            version: The version.
            check: Of a job; see `asked`.

        Raises:
            OperationFailed: NOT_FOUND: there is no such dataset (`DATASET_NOT_FOUND`) or version.
            IngestionUnavailable: The server does not answer.
        """
        request = pb.GetDatasetRequest(project=project, name=name, version=version)
        found = asked(self._calls, lambda: self._served.GetDataset(request), check)
        return PinnedDataset(
            name,
            found.version,
            found.uri,
            tuple((column.name, column.type) for column in found.columns),
            found.create_time.ToDatetime(UTC),
            found.update_time.ToDatetime(UTC),
            found.row_count,
        )

    def dataset_or_none(self, project: str, name: str, check: Check | None = None) -> PinnedDataset | None:
        """Returns the newest version of a dataset; None where there is none of the name."""
        try:
            return self.dataset(project, name, None, check)
        except DomainError as error:
            if error.reason != DATASET_NOT_FOUND:
                raise
            return None

    def ingest_file(self, project: str, dataset: str, data: bytes, file_format: ingestion_pb2.FileFormat.ValueType, request_id: str) -> str:
        """Begins to append the rows of a file to a dataset, which is made where there is none; returns the id of the ingestion.

        Args:
            project: Of the dataset.
            dataset: Its name.
            data: The file, less than a message may have.
            file_format: What it is, for example `FILE_FORMAT_PARQUET`.
            request_id: A UUID; a repeat with the same one gives the same ingestion.
        """
        request = pb.IngestDataRequest(
            project=project,
            dataset=dataset,
            source=ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=data, name=_FILE + request_id)),
            read=ingestion_pb2.ReadOptions(format=file_format),
            mode=ingestion_pb2.WRITE_MODE_APPEND,
            request_id=request_id,
        )
        return str(self._calls.answered(lambda: self._served.IngestData(request)).id)

    def wait_for_files(self, project: str, dataset: str, check: Check) -> None:
        """Returns once all that was given to `ingest_file` before this call is in the dataset, or has failed.

        Args:
            project: Of the dataset.
            dataset: Its name.
            check: Raises where the job is to end.
        """
        condition = f'dataset = "{dataset}" AND NOT (state = "SUCCEEDED" OR state = "FAILED" OR state = "CANCELLED")'

        def still_open() -> set[str]:
            return {each.id for each in self._ingestions(project, condition, check) if each.source.startswith(_FILE)}

        waiting = still_open()
        while waiting:
            wait(_LOOK_S, check)
            waiting &= still_open()

    def preview(self, project: str, dataset: str, version: int, check: Check | None = None) -> list[dict[str, Any]]:
        """Returns the first rows of a version, at most 50, as JSON has them."""
        request = pb.PreviewDatasetRequest(project=project, name=dataset, version=version)
        body = asked(self._calls, lambda: self._served.PreviewDataset(request), check)
        rows: list[dict[str, Any]] = orjson.loads(body.data)["rows"]
        return rows

    def profile(self, project: str, dataset: str, version: int | None = None) -> profile_service_pb2.DatasetProfile:
        """Returns what a version of a dataset has in it; of the newest where none is named.

        Raises:
            OperationFailed: NOT_FOUND: there is no such dataset or version; FAILED_PRECONDITION: its files were removed.
            IngestionUnavailable: The server does not answer.
        """
        request = profile_service_pb2.GetDatasetProfileRequest(project=project, dataset=dataset, version=version)
        self._served  # noqa: B018 (says what is missing)
        stub: Any = self._profiles
        found: profile_service_pb2.DatasetProfile = self._calls.answered(lambda: stub.GetDatasetProfile(request))
        return found

    def versions(self, project: str, dataset: str) -> list[int]:
        """Returns the versions of a dataset that its log still has, the oldest first; the newest 1,000 where there are more."""
        request = pb.ListDatasetVersionsRequest(project=project, name=dataset, page_size=_VERSIONS)
        found = self._calls.answered(lambda: self._served.ListDatasetVersions(request))
        return sorted(each.version for each in found.versions)

    def _ingestions(self, project: str, condition: str, check: Check | None = None) -> Iterator[ingestion_pb2.Ingestion]:
        request = pb.ListIngestionsRequest(project=project, filter=condition, page_size=_PAGE_SIZE)
        while True:
            page = asked(self._calls, lambda: self._served.ListIngestions(request), check)
            yield from page.ingestions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    @property
    def _served(self) -> Any:
        if self._data is None:
            raise IngestionUnavailable("ingestion_address (MLMESH_FEATURES_INGESTION_ADDRESS or MLMESH_INGESTION_ADDRESS) is not set")
        return self._data
