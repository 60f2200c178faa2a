"""The ingestion server, which has the datasets: the only module of processing that calls another component."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from mlops.ingestion.v1 import ingestion_pb2, profile_service_pb2, upload_service_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.ingestion_service_pb2_grpc import DataIngestionServiceStub
from mlops.ingestion.v1.profile_service_pb2_grpc import DatasetProfileServiceStub
from mlops.ingestion.v1.upload_service_pb2_grpc import DataUploadServiceStub
from mlops.ingestion.v1.validation_pb2 import ValidationReport
from mlops.processing.v1.processing_job_pb2 import JobOutput

from servers.processing.errors import IngestionUnavailable
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check, PeerCalls, beside, error_of_status, is_passing

SERVICES = (
    "mlops.ingestion.v1.DataIngestionService",
    "mlops.ingestion.v1.DataUploadService",
    "mlops.ingestion.v1.DatasetProfileService",
)

_LOGGER = logging.getLogger(__name__)
_PIECE_BYTES = 1024 * 1024
_CLOCKS_DIFFER = timedelta(minutes=5)
_EMPTY_FILE = "rows.parquet"


@dataclass(frozen=True)
class PinnedDataset:
    """A version of a dataset.

    Args:
        name: Of the dataset.
        version: The version.
        uri: Of its table.
        made_at: When the dataset was first written: another time means that it was deleted and made anew.
    """

    name: str
    version: int
    uri: str
    made_at: str = ""


class IngestionPeer:
    """Asks the ingestion server, as the mesh's own account.

    Args:
        channel: With the credentials of the mesh's service account; None where nobody has said where the server is.
        patience_s: How long to wait for a server that does not answer, where a job does, in seconds.
    """

    def __init__(self, channel: grpc.Channel | None, patience_s: float) -> None:
        self._data = None if channel is None else DataIngestionServiceStub(channel)
        self._uploads = None if channel is None else DataUploadServiceStub(channel)
        self._profiles = None if channel is None else DatasetProfileServiceStub(channel)
        self._calls = PeerCalls("ingestion", "processing", IngestionUnavailable, patience_s)

    def dataset(self, project: str, name: str, version: int | None) -> PinnedDataset:
        """Returns a version of a dataset; the newest where none is named.

        Raises:
            OperationFailed: NOT_FOUND: there is none.
            IngestionUnavailable: The server does not answer.
        """
        request = pb.GetDatasetRequest(project=project, name=name, version=version)
        found = self._calls.answered(lambda: self._served.GetDataset(request))
        return PinnedDataset(name, found.version, found.uri, found.create_time.ToJsonString())

    def patient_dataset(self, project: str, name: str, version: int | None, check: Check) -> PinnedDataset:
        """The same, for a job: waits for a server that does not answer."""
        return self._calls.patiently(lambda: self.dataset(project, name, version), check)

    def profile(self, project: str, name: str, version: int, timeout_s: float, check: Check) -> profile_service_pb2.DatasetProfile:
        """Returns what a version of a dataset has in it."""
        request = profile_service_pb2.GetDatasetProfileRequest(project=project, dataset=name, version=version)
        self._served  # noqa: B018 (says what is missing)
        stub: Any = self._profiles
        found: profile_service_pb2.DatasetProfile = self._calls.patiently(lambda: stub.GetDatasetProfile(request, timeout=timeout_s), check)
        return found

    def foresee(self, project: str, output: JobOutput, empty_file: bytes) -> DomainError | None:
        """Returns why rows of some columns could not be written, whatever they are; None where they could.

        Args:
            project: Of the dataset.
            output: How they are written.
            empty_file: A Parquet file with the columns.
        """
        request = _ingestion(project, output, ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=empty_file, name=_EMPTY_FILE)))
        request.validate_only = True
        foreseen = self._calls.answered(lambda: self._served.IngestData(request))
        if not foreseen.HasField("error"):
            return None
        error = error_of_status(foreseen.error)
        # No rows may be too few; the rows that there will be may not.
        return None if error.reason == "EXPECTATIONS_NOT_MET" else error

    def foresee_upload(self, project: str, output: JobOutput, upload_id: str, timeout_s: float, check: Check) -> DomainError | None:
        """Returns why rows that were sent could not be written; None where they could, or where nobody knows yet.

        Args:
            project: Of the dataset.
            output: How they are written.
            upload_id: Where they are.
            timeout_s: Longest time to look at them, in seconds.
            check: Called now and then.
        """
        request = _ingestion(project, output, ingestion_pb2.Source(upload_id=upload_id))
        request.validate_only = True
        try:
            foreseen = beside(lambda: self._calls.answered(lambda: self._served.IngestData(request, timeout=timeout_s)), check)
        except DomainError as error:
            if not is_passing(error) and error.reason not in ("UPLOAD_NOT_FOUND", "UPLOAD_IN_USE"):
                raise
            return None
        return error_of_status(foreseen.error) if foreseen.HasField("error") else None

    def check_suite(self, project: str, suite: Struct, empty_file: bytes) -> None:
        """Finds out whether a suite can be understood.

        Raises:
            OperationFailed: INVALID_ARGUMENT: it cannot, and why.
        """
        source = ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=empty_file, name=_EMPTY_FILE))
        request = pb.ValidateDataRequest(project=project, suite=suite, source=source, max_unexpected_rows=0)
        self._calls.answered(lambda: self._served.ValidateData(request))

    def validate(self, project: str, dataset: PinnedDataset, suite: Struct, timeout_s: float, check: Check) -> ValidationReport:
        """Checks the rows of a dataset against a suite."""
        request = pb.ValidateDataRequest(project=project, suite=suite, dataset=dataset.name, version=dataset.version)
        report: ValidationReport = self._calls.patiently(lambda: self._served.ValidateData(request, timeout=timeout_s), check)
        return report

    def upload(self, project: str, file: Path, name: str, check: Check) -> str:
        """Sends a file; returns the id of the upload.

        Args:
            project: Where to.
            file: The file.
            name: What it is called there.
            check: Called now and then; where it raises, nothing more is sent.
        """
        size = file.stat().st_size
        begin = upload_service_pb2.BeginDataUploadRequest(project=project, name=name, size_bytes=size)
        upload = self._calls.patiently(lambda: self._served_uploads.BeginDataUpload(begin), check)
        where = upload_service_pb2.GetDataUploadRequest(project=project, id=upload.id)

        is_left = threading.Event()

        def send() -> upload_service_pb2.DataUpload:
            # Where a transfer broke, the rest follows what did arrive.
            at: upload_service_pb2.DataUpload = self._served_uploads.GetDataUpload(where)
            if not at.complete:
                at = self._served_uploads.AppendDataUpload(_pieces(project, file, at, is_left.is_set))
            return at

        try:
            while not upload.complete:
                upload = self._calls.patiently(send, check)
        finally:
            is_left.set()
        return str(upload.id)

    def ingest(self, project: str, output: JobOutput, upload_id: str, request_id: str, check: Check) -> str:
        """Begins to write rows; returns the id of the ingestion. A repeat with the same request id gives the same one.

        Raises:
            OperationFailed: Among others UPLOAD_NOT_FOUND and REQUEST_ID_REUSED: the rows may be in an ingestion already.
        """
        request = _ingestion(project, output, ingestion_pb2.Source(upload_id=upload_id))
        request.request_id = request_id
        return str(self._calls.patiently(lambda: self._served.IngestData(request), check).id)

    def find(self, project: str, dataset: str, source: str, since: datetime, check: Check) -> str:
        """Returns the id of the ingestion of an upload; empty where there is none.

        Args:
            project: Of the dataset.
            dataset: Into which.
            source: Name of the upload.
            since: When it was not begun before.
            check: Called now and then.
        """
        wanted = f'dataset = "{dataset}" AND create_time >= "{(since - _CLOCKS_DIFFER).isoformat()}"'
        request = pb.ListIngestionsRequest(project=project, filter=wanted, page_size=1000)
        while True:
            page = self._calls.patiently(lambda: self._served.ListIngestions(request), check)
            for each in page.ingestions:
                if each.source == source:
                    return str(each.id)
            if not page.next_page_token:
                return ""
            request.page_token = page.next_page_token

    def ingestion(self, project: str, ingestion_id: str, check: Check) -> ingestion_pb2.Ingestion:
        """Returns an ingestion as it stands."""
        request = pb.GetIngestionRequest(project=project, id=ingestion_id)
        found: ingestion_pb2.Ingestion = self._calls.patiently(lambda: self._served.GetIngestion(request), check)
        return found

    def cancel(self, project: str, ingestion_id: str) -> None:
        """Has an ingestion stopped."""
        request = pb.CancelIngestionRequest(project=project, id=ingestion_id)
        self._calls.answered(lambda: self._served.CancelIngestion(request))

    def forget(self, project: str, upload_id: str) -> None:
        """Lets go of an upload, if it can be; it expires otherwise."""
        request = upload_service_pb2.DeleteDataUploadRequest(project=project, id=upload_id)
        try:
            self._calls.answered(lambda: self._served_uploads.DeleteDataUpload(request))
        except DomainError as error:
            _LOGGER.info("upload %s expires by itself: %s", upload_id, error.message)

    @property
    def _served(self) -> Any:
        if self._data is None:
            raise IngestionUnavailable("ingestion_address (MLMESH_PROCESSING_INGESTION_ADDRESS or MLMESH_INGESTION_ADDRESS) is not set")
        return self._data

    @property
    def _served_uploads(self) -> Any:
        self._served  # noqa: B018 (says what is missing)
        return self._uploads


def _ingestion(project: str, output: JobOutput, source: ingestion_pb2.Source) -> pb.IngestDataRequest:
    request = pb.IngestDataRequest(
        project=project,
        dataset=output.dataset,
        source=source,
        read=ingestion_pb2.ReadOptions(format=ingestion_pb2.FILE_FORMAT_PARQUET),
        mode=output.mode,
        keys=output.keys,
    )
    if output.HasField("schema_contract"):
        request.schema_contract.CopyFrom(output.schema_contract)
    if output.HasField("gate"):
        request.gate.CopyFrom(output.gate)
    return request


def _pieces(
    project: str, file: Path, upload: upload_service_pb2.DataUpload, is_left: Callable[[], bool]
) -> Iterator[upload_service_pb2.AppendDataUploadRequest]:
    with file.open("rb") as opened:
        opened.seek(upload.offset_bytes)
        offset = upload.offset_bytes
        while not is_left() and (piece := opened.read(_PIECE_BYTES)):
            yield upload_service_pb2.AppendDataUploadRequest(project=project, id=upload.id, offset_bytes=offset, data=piece)
            offset += len(piece)
