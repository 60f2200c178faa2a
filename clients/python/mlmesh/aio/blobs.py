"""Bytes of models: sent and received in pieces, taken up where they broke off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc.aio
from google.api import httpbody_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2

from mlmesh.aio.blocking import pause, run_blocking
from mlmesh.aio.calls import Caller
from mlmesh.aio.versions import VersionCalls
from mlmesh.errors import DataLoss, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from mlmesh.files import Download, Report, Source, describe, is_whole, open_at, read_piece
from mlmesh.http_uploads import HttpNotSpoken, HttpUploads
from mlmesh.outgoing import Outgoing
from mlmesh.progress import reporting
from mlmesh.statuses import error_of_status

_ATTEMPTS_WITHOUT_PROGRESS = 6
_FIRST_PAUSE_S = 0.2


class BlobCalls(VersionCalls):
    """Calls that move bytes.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
        http: Takes uploads by HTTP; None = they go by gRPC.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, http: HttpUploads | None = None) -> None:
        super().__init__(channel, caller)
        self._http = http

    async def check_blobs(self, digests: Sequence[str], *, project: str = "", timeout_s: float | None = None) -> list[str]:
        """Returns which of some digests are not stored yet.

        Args:
            digests: Digests, `sha256:` and 64 hexadecimal digits each.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.CheckBlobsRequest(project=project, digests=digests)
        answer = await self._caller.unary(self._stub.CheckBlobs, request, timeout_s=timeout_s)
        return list(answer.missing_digests)

    async def begin_upload(
        self, digest: str, size_bytes: int, *, upload_id: str = "", project: str = "", timeout_s: float | None = None
    ) -> registry_service_pb2.Upload:
        """Begins an upload, or finds out where one that was broken off stands. With the digest told last, completes it.

        Args:
            digest: Digest of the whole blob; empty = told by another call, with `upload_id`, once the bytes are there.
            size_bytes: Its length.
            upload_id: An upload that was begun before; empty = a new one.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The upload, with the position from which to send.

        Raises:
            mlmesh.errors.NotFound: There is no such upload, or no more.
            mlmesh.errors.InvalidArgument: Its bytes have another digest; the upload is gone.
        """
        request = registry_service_pb2.BeginUploadRequest(project=project, digest=digest, size_bytes=size_bytes, upload_id=upload_id)
        return await self._caller.unary(self._stub.BeginUpload, request, timeout_s=timeout_s)

    async def upload_blob(
        self,
        upload: registry_service_pb2.Upload,
        source: Path,
        *,
        project: str = "",
        progress: bool | Report = False,
        timeout_s: float | None = None,
    ) -> registry_service_pb2.Upload:
        """Sends the rest of an upload in one attempt; `upload_file` makes as many as it takes.

        Args:
            upload: The upload, from `begin_upload`.
            source: The file.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.
            timeout_s: Deadline, in seconds; None = the connection's for transfers.

        Raises:
            mlmesh.errors.FailedPrecondition: The upload has reached another position than it says.
        """
        outgoing = Outgoing(Source(source, source.name, upload.digest, upload.size_bytes))
        with reporting(progress) as report:
            try:
                await run_blocking(outgoing.open)
                return await self._send(upload, outgoing, project, report, timeout_s)
            finally:
                await run_blocking(outgoing.close)

    async def download_blob(
        self,
        digest: str,
        *,
        offset_bytes: int = 0,
        verified_by_caller: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Yields the bytes of a blob in one attempt; `download_file` makes as many as it takes, and verifies.

        Args:
            digest: Digest of the blob.
            offset_bytes: Where to begin.
            verified_by_caller: Whether the caller compares the digest of the whole, so that the server need not.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's for transfers.

        Raises:
            mlmesh.errors.NotFound: No version of the project has it.
            mlmesh.errors.DataLoss: The server found at its end that it is not what was stored.
            mlmesh.errors.Unavailable: The stream broke off.
        """
        request = registry_service_pb2.DownloadBlobRequest(
            project=project, digest=digest, offset_bytes=offset_bytes, verified_by_caller=verified_by_caller
        )
        async for answer in self._caller.stream(self._stub.DownloadBlob, request, timeout_s=timeout_s):
            if answer.WhichOneof("message") == "end":
                if answer.end.status.code:
                    raise error_of_status(answer.end.status)
                return
            yield answer.data
        raise Unavailable("the download broke off before its end", reason="STREAM_BROKEN_OFF")

    async def upload_artifact(
        self,
        model: str,
        version: int,
        path: str,
        source: Path | str,
        *,
        project: str = "",
        progress: bool | Report = False,
        timeout_s: float | None = None,
    ) -> model_pb2.ModelFile:
        """Adds a file to a PENDING version. `push_version` is the resumable way.

        Args:
            model: Name of the model.
            version: Version number.
            path: Its relative path in the version.
            source: The file.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.
            timeout_s: Deadline, in seconds; None = the connection's for transfers.

        Raises:
            mlmesh.errors.FailedPrecondition: The version is not PENDING.
        """
        with reporting(progress) as report:
            first = registry_service_pb2.UploadArtifactRequest(model=model, version=version, project=project, path=path)
            requests = self._artifact_pieces(first, Path(source), report)
            return await self._caller.upload(
                self._stub.UploadArtifact, registry_service_pb2.UploadArtifactRequest, requests, timeout_s=timeout_s
            )

    async def download_artifact(
        self, model: str, version: int, path: str = "", *, project: str = "", timeout_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """Yields the bytes of a file of a version, or of all of them as a tar archive. `pull_version` is the resumable way.

        Args:
            model: Name of the model.
            version: Version number.
            path: Path of the file in the version; empty = all files.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's for transfers.
        """
        request = registry_service_pb2.DownloadArtifactRequest(model=model, version=version, project=project, path=path)
        async for answer in self._caller.stream(self._stub.DownloadArtifact, request, timeout_s=timeout_s):
            yield answer.data

    async def upload_file(self, source: Path | str, *, project: str = "", progress: bool | Report = False) -> model_pb2.ModelFile:
        """Stores a file, unless its content is stored already. Goes on where it breaks off.

        Args:
            source: The file.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Returns:
            Its digest and length, for `create_model_version`.

        Raises:
            mlmesh.errors.Unavailable: It broke off several times without getting any further.
        """
        path = Path(source)
        described = await run_blocking(describe, path, path.name)
        with reporting(progress) as report:
            if await self.check_blobs([described.digest], project=project):
                await self._upload(described, project, report)
        return model_pb2.ModelFile(path=described.name, digest=described.digest, size_bytes=described.size_bytes)

    async def download_file(self, digest: str, target: Path | str, *, project: str = "", progress: bool | Report = False) -> Path:
        """Writes a blob to a file and verifies it. Goes on where it broke off, also in a later call.

        Args:
            digest: Digest of the blob.
            target: Where to; it is there only once it is whole.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Raises:
            mlmesh.errors.DataLoss: It was damaged on its way.
        """
        with reporting(progress) as report:
            await self._download(digest, Path(target), 0, project, report)
        return Path(target)

    async def upload_described(self, source: Source, *, project: str = "", progress: bool | Report = False) -> None:
        """Stores a file whose digest is known already; `upload_file` finds it out.

        Args:
            source: The file, from `mlmesh.files.describe`.
            project: Project; empty = `default`.
            progress: True = a bar; or a function to tell.

        Raises:
            mlmesh.errors.Unavailable: It broke off several times without getting any further.
        """
        with reporting(progress) as report:
            await self._upload(source, project, report)

    async def read_blob(self, digest: str, *, offset_bytes: int = 0, project: str = "") -> AsyncIterator[bytes]:
        """Yields the bytes of a blob, and goes on where the stream broke off. Whoever reads them verifies them.

        Args:
            digest: Digest of the blob.
            offset_bytes: Where to begin.
            project: Project; empty = `default`.

        Raises:
            mlmesh.errors.Unavailable: It broke off several times without getting any further.
        """
        failures, offset = 0, offset_bytes
        while True:
            begun_at = offset
            try:
                async for piece in self.download_blob(digest, offset_bytes=offset, verified_by_caller=True, project=project):
                    offset += len(piece)
                    yield piece
                return
            except (Unavailable, DeadlineExceeded):
                failures = 1 if offset > begun_at else failures + 1
                if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                    raise
            await pause(_FIRST_PAUSE_S * 2**failures)

    async def _upload(self, source: Source, project: str, report: Report) -> str:
        """Stores a file and returns its digest, which is found beside the sending where it is not known."""
        outgoing = Outgoing(source, hashes=not source.digest)
        try:
            await run_blocking(outgoing.open)
            return await self._upload_resuming(outgoing, project, _forward(report))
        finally:
            await run_blocking(outgoing.close)

    async def _upload_resuming(self, outgoing: Outgoing, project: str, report: Report) -> str:
        source = outgoing.source
        digest, upload_id = source.digest, ""
        failures, reached = 0, -1
        while True:
            try:
                upload = await self.begin_upload(digest, source.size_bytes, upload_id=upload_id, project=project)
            except NotFound:
                if not upload_id:
                    raise
                # It expired, or somebody gave it up: from the beginning.
                upload_id, reached = "", 0
                upload = await self.begin_upload(digest, source.size_bytes, project=project)
            if upload.complete:
                report(source.name, source.size_bytes, source.size_bytes)
                return _agreed(source.name, digest, upload.digest)
            failures = 0 if upload.offset_bytes > reached else failures
            upload_id, reached = upload.id, upload.offset_bytes
            try:
                if reached < source.size_bytes or digest:
                    upload = await self._send(upload, outgoing, project, report, None)
                if upload.complete:
                    return _agreed(source.name, digest, upload.digest)
                if not digest and upload.offset_bytes == source.size_bytes:
                    digest = await run_blocking(outgoing.digest)
                    continue
                failures += 1
            except (Unavailable, DeadlineExceeded, FailedPrecondition, NotFound):
                failures += 1
                if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                    raise
            if failures >= _ATTEMPTS_WITHOUT_PROGRESS:
                raise Unavailable(f"the upload of {source.name} does not get beyond byte {reached}", reason="UPLOAD_STUCK")
            await pause(_FIRST_PAUSE_S * 2**failures)

    async def _send(
        self, upload: registry_service_pb2.Upload, outgoing: Outgoing, project: str, report: Report, timeout_s: float | None
    ) -> registry_service_pb2.Upload:
        if self._http is not None and self._http.is_worth(upload.size_bytes - upload.offset_bytes):
            try:
                return await self._send_by_http(self._http, upload, outgoing, project, report, timeout_s)
            except HttpNotSpoken:
                pass  # remembered, so the next one goes by gRPC at once
        requests = self._pieces(upload, outgoing, project, report)
        answer = await self._caller.upload(self._stub.UploadBlob, registry_service_pb2.UploadBlobRequest, requests, timeout_s=timeout_s)
        outgoing.check_whole()
        return answer

    async def _send_by_http(
        self,
        http: HttpUploads,
        upload: registry_service_pb2.Upload,
        outgoing: Outgoing,
        project: str,
        report: Report,
        timeout_s: float | None,
    ) -> registry_service_pb2.Upload:
        metadata, deadline_s = await self._caller.terms(registry_service_pb2.UploadBlobRequest, timeout_s)
        attempt, offset = http.attempt(upload, project, metadata, deadline_s), upload.offset_bytes
        try:
            await run_blocking(attempt.open)
            while sent := await run_blocking(attempt.send_piece, outgoing, offset):
                offset += sent
                report(outgoing.source.name, offset, upload.size_bytes)
            return await run_blocking(attempt.answer)
        finally:
            await run_blocking(attempt.close)

    async def _download(self, digest: str, target: Path, size_bytes: int, project: str, report: Report) -> None:
        if await run_blocking(is_whole, target, digest):
            report(target.name, size_bytes, size_bytes)
            return
        download = Download(target, digest)
        await run_blocking(download.open)
        try:
            async for piece in self.read_blob(digest, offset_bytes=download.size_bytes, project=project):
                await run_blocking(download.append, piece)
                report(target.name, download.size_bytes, size_bytes)
            await run_blocking(download.finish)
        finally:
            await run_blocking(download.close)

    async def _pieces(
        self, upload: registry_service_pb2.Upload, outgoing: Outgoing, project: str, report: Report
    ) -> AsyncIterator[registry_service_pb2.UploadBlobRequest]:
        offset, is_first = upload.offset_bytes, True
        while (piece := await run_blocking(outgoing.read, offset)) or is_first:
            yield registry_service_pb2.UploadBlobRequest(upload_id=upload.id, project=project, offset_bytes=offset, data=piece)
            is_first = False
            offset += len(piece)
            report(outgoing.source.name, offset, upload.size_bytes)

    async def _artifact_pieces(
        self, first: registry_service_pb2.UploadArtifactRequest, source: Path, report: Report
    ) -> AsyncIterator[registry_service_pb2.UploadArtifactRequest]:
        request, done, total = first, 0, source.stat().st_size
        file = await run_blocking(open_at, source, 0)
        try:
            while (piece := await run_blocking(read_piece, file)) or request is first:
                request.body.CopyFrom(httpbody_pb2.HttpBody(content_type="application/octet-stream", data=piece))
                yield request
                request = registry_service_pb2.UploadArtifactRequest()
                done += len(piece)
                report(source.name, done, total)
        finally:
            await run_blocking(file.close)


def _forward(report: Report) -> Report:
    """Reports how far a file has ever been: what is sent again after a break is no step back."""
    furthest = 0

    def told(name: str, done: int, total: int) -> None:
        nonlocal furthest
        furthest = max(furthest, done)
        report(name, furthest, total)

    return told


def _agreed(name: str, digest: str, verified: str) -> str:
    """Returns the digest that both sides found."""
    if verified != digest:
        raise DataLoss(f"the mesh stored {name} as {verified or 'nothing'}, which is not its digest {digest}", reason="DIGEST_MISMATCH")
    return digest
