"""Files that are larger than a request: sent in pieces, and resumed where they broke off."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
from mlops.ingestion.v1 import upload_service_pb2, upload_service_pb2_grpc

from mlmesh.data_uploads import Content, DataUpload, Sending, sending_of, upload_value
from mlmesh.errors import DeadlineExceeded, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from mlmesh.files import Report
from mlmesh.http_uploads import HttpNotSpoken, HttpUploads
from mlmesh.progress import reporting
from mlmesh.sync.blocking import pause, run_blocking
from mlmesh.sync.calls import Caller

_ATTEMPTS_WITHOUT_PROGRESS = 7
_FIRST_PAUSE_S = 0.2


class UploadsClient:
    """Sends files that are larger than a request. `ingest_data` does all of this by itself.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
        http: Takes the bytes by HTTP; None = they go by gRPC.
    """

    def __init__(self, channel: grpc.Channel, caller: Caller, http: HttpUploads | None = None) -> None:
        self._stub = upload_service_pb2_grpc.DataUploadServiceStub(channel)
        self._caller = caller
        self._http = http

    def begin_data_upload(
        self, size_bytes: int, *, name: str = "", project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> DataUpload:
        """Begins an upload.

        Args:
            size_bytes: Length of the whole file.
            name: Its name, which tells its format where the bytes do not: `flights.csv.gz`.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.ResourceExhausted: The file is larger than the mesh takes, or the project has too many uploads.
        """
        request = upload_service_pb2.BeginDataUploadRequest(project=project, name=name, size_bytes=size_bytes, request_id=request_id)
        return upload_value(self._caller.unary(self._stub.BeginDataUpload, request, timeout_s=timeout_s))

    def get_data_upload(self, upload_id: str, *, project: str = "", timeout_s: float | None = None) -> DataUpload:
        """Returns where an upload stands.

        Args:
            upload_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none, or no more.
        """
        request = upload_service_pb2.GetDataUploadRequest(id=upload_id, project=project)
        return upload_value(self._caller.unary(self._stub.GetDataUpload, request, timeout_s=timeout_s))

    def append_data_upload(
        self,
        upload: DataUpload,
        source: str | Content,
        *,
        project: str = "",
        progress: bool | Report = False,
        timeout_s: float | None = None,
    ) -> DataUpload:
        """Sends the rest of an upload in one attempt; `upload_data` makes as many as it takes.

        Args:
            upload: The upload, as it stands.
            source: The whole file: its path, or its bytes.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.
            timeout_s: Deadline, in seconds; None = the connection's for transfers.

        Returns:
            The upload as it stands then.

        Raises:
            mlmesh.errors.FailedPrecondition: The upload has reached another position than it says.
        """
        sending = sending_of(Path(source) if isinstance(source, str) else source, upload.name)
        with reporting(progress) as report:
            try:
                run_blocking(sending.open)
                return self._send(upload, sending, project, report, timeout_s)
            finally:
                run_blocking(sending.close)

    def delete_data_upload(self, upload_id: str, *, project: str = "", timeout_s: float | None = None) -> None:
        """Forgets an upload and its bytes.

        Args:
            upload_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none, or no more.
            mlmesh.errors.FailedPrecondition: An ingestion needs it.
        """
        request = upload_service_pb2.DeleteDataUploadRequest(id=upload_id, project=project)
        self._caller.unary(self._stub.DeleteDataUpload, request, timeout_s=timeout_s)

    def upload_data(
        self,
        source: str | Content,
        *,
        name: str = "",
        project: str = "",
        request_id: str = "",
        progress: bool | Report = False,
    ) -> DataUpload:
        """Uploads a file. Goes on where it breaks off, and with a `request_id` also in another program, within 24 hours.

        Args:
            source: The file: its path, or its bytes.
            name: Its name, which tells its format where the bytes do not; empty = that of the path.
            project: Project; empty = `default`.
            request_id: A UUID that is the same for the same file. Empty = the upload is a new one.
            progress: True = a bar; or a function to tell.

        Returns:
            The upload, complete: a source for `ingest_data` and `validate_data`, as often as one likes until an ingestion of it has ended.

        Raises:
            mlmesh.errors.InvalidArgument: The file was changed meanwhile.
            mlmesh.errors.Unavailable: It broke off several times without getting any further.
        """
        sending = sending_of(Path(source) if isinstance(source, str) else source, name)
        upload = self.begin_data_upload(sending.size_bytes, name=sending.name, project=project, request_id=request_id)
        if request_id:
            # The answer may be that of a call long ago.
            try:
                upload = self.get_data_upload(upload.id, project=project)
            except NotFound:
                # It was ingested already, which a repeat of that call finds out.
                return upload
        with reporting(progress) as report:
            try:
                run_blocking(sending.open)
                done = self._send_resuming(upload, sending, project, report)
                run_blocking(sending.check_unchanged)
                return done
            finally:
                run_blocking(sending.close)

    def _send_resuming(self, upload: DataUpload, sending: Sending, project: str, report: Report) -> DataUpload:
        failures, reached = 0, upload.offset_bytes
        while not upload.is_complete:
            try:
                if failures:
                    pause(_FIRST_PAUSE_S * 2**failures)
                    upload = self.get_data_upload(upload.id, project=project)
                    failures = 1 if upload.offset_bytes > reached else failures
                    reached = max(reached, upload.offset_bytes)
                if not upload.is_complete:
                    upload = self._send(upload, sending, project, report, None)
                if upload.is_complete:
                    break
                failures += 1
            except (Unavailable, DeadlineExceeded, FailedPrecondition, ResourceExhausted) as error:
                # Of what is exhausted, only the senders of a server become fewer by themselves.
                if isinstance(error, ResourceExhausted) and error.reason != "TOO_MANY_UPLOADS":
                    raise
                failures += 1
                if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                    raise
            if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                raise Unavailable(f"the upload of {sending.name} does not get beyond byte {reached}", reason="UPLOAD_STUCK")
        return upload

    def _send(self, upload: DataUpload, sending: Sending, project: str, report: Report, timeout_s: float | None) -> DataUpload:
        if self._http is not None and self._http.is_worth(upload.size_bytes - upload.offset_bytes):
            try:
                return self._send_by_http(self._http, upload, sending, project, report, timeout_s)
            except HttpNotSpoken:
                pass  # remembered, so the next one goes by gRPC at once
        requests = self._pieces(upload, sending, project, report)
        answer = self._caller.upload(self._stub.AppendDataUpload, upload_service_pb2.AppendDataUploadRequest, requests, timeout_s=timeout_s)
        sending.check_whole()
        return upload_value(answer)

    def _send_by_http(
        self, http: HttpUploads, upload: DataUpload, sending: Sending, project: str, report: Report, timeout_s: float | None
    ) -> DataUpload:
        metadata, deadline_s = self._caller.terms(upload_service_pb2.AppendDataUploadRequest, timeout_s)
        attempt, offset = http.attempt(upload.message(), project, metadata, deadline_s), upload.offset_bytes
        try:
            run_blocking(attempt.open)
            while sent := run_blocking(attempt.send_piece, sending, offset):
                offset += sent
                report(sending.name, offset, upload.size_bytes)
            return upload_value(run_blocking(attempt.answer))
        finally:
            run_blocking(attempt.close)

    def _pieces(
        self, upload: DataUpload, sending: Sending, project: str, report: Report
    ) -> Iterator[upload_service_pb2.AppendDataUploadRequest]:
        offset, is_first = upload.offset_bytes, True
        while (piece := run_blocking(sending.read, offset)) or is_first:
            yield upload_service_pb2.AppendDataUploadRequest(id=upload.id, project=project, offset_bytes=offset, data=piece)
            is_first = False
            offset += len(piece)
            report(sending.name, offset, upload.size_bytes)
