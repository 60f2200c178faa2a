"""Blobs on their way in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from blob_store import BlobNotFound as MissingBlob
from blob_store import DigestMismatch, Upload
from model_management.catalog import ModelCatalog
from model_management.errors import InvalidValue
from servers.registry.errors import BlobNotFound, blob_damaged


def checked(digest: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Reads a stored blob.

    Raises:
        FileDamaged: It is not what was saved. Nothing the caller sent is wrong, as a `DigestMismatch` would say.
    """
    try:
        yield from chunks
    except DigestMismatch as error:
        raise blob_damaged(digest, "its content has changed") from error


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """Where an upload stands.

    Args:
        upload_id: Its identifier; empty where the blob was stored already.
        digest: Digest of the whole blob; empty = told later.
        size_bytes: Length of the whole blob.
        offset_bytes: Bytes that are stored.
        is_complete: Whether the blob is stored whole and verified.
    """

    upload_id: str
    digest: str
    size_bytes: int
    offset_bytes: int
    is_complete: bool


class Transfers:
    """Takes and gives blobs, resumable in both directions.

    Args:
        catalog: Keeps the blobs, and says which of them a project may read.
        max_file_bytes: Largest blob that is taken.
    """

    def __init__(self, catalog: ModelCatalog, max_file_bytes: int) -> None:
        self._catalog = catalog
        self._blobs = catalog.blobs
        self._max_file_bytes = max_file_bytes

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Returns those digests that are not stored, in the order asked."""
        present = self._blobs.exists_many(digests)
        return [digest for digest in digests if digest not in present]

    def begin(self, digest: str, size_bytes: int, upload_id: str) -> UploadProgress:
        """Begins an upload, or finds one; completes one whose bytes are there and whose digest is known.

        Args:
            digest: Digest of the whole blob; empty = told later, by another call.
            size_bytes: Its length.
            upload_id: An upload that was broken off, or whose digest is told now; empty for a new one.

        Raises:
            InvalidValue: The blob is larger than this server takes, or the upload was begun for another one.
            blob_store.UploadNotFound: The upload is gone.
            blob_store.DigestMismatch: The bytes have another digest; the upload is gone.
        """
        if size_bytes > self._max_file_bytes:
            raise InvalidValue("size_bytes", f"{size_bytes:,} bytes are more than the {self._max_file_bytes:,} that this server takes")
        if digest and digest in self._blobs.exists_many([digest]):
            # So it is too where the answer to the call that completed the upload was lost.
            self._blobs.abort_upload(upload_id)
            return UploadProgress("", digest, size_bytes, size_bytes, is_complete=True)
        upload = self._blobs.upload(upload_id or self._blobs.begin_upload(digest or None, size_bytes))
        if upload.size_bytes != size_bytes:
            raise InvalidValue("size_bytes", f"the upload was begun for {upload.size_bytes:,} bytes, not {size_bytes:,}")
        if upload.digest and digest and upload.digest != digest:
            raise InvalidValue("digest", f"the upload was begun for {upload.digest}")
        return self._completed_if_whole(upload, digest or upload.digest)

    def append(self, upload_id: str, offset_bytes: int, chunks: Iterable[bytes]) -> UploadProgress:
        """Goes on with an upload, and completes it with its last byte where its digest was announced.

        Raises:
            blob_store.UploadNotFound: There is no such upload.
            blob_store.OffsetMismatch: The upload stands elsewhere.
            blob_store.DigestMismatch: The whole is not what was announced.
        """
        self._blobs.append(upload_id, offset_bytes, chunks)
        upload = self._blobs.upload(upload_id)
        return self._completed_if_whole(upload, upload.digest)

    def download(self, project: str, digest: str, offset_bytes: int, *, is_verified_by_caller: bool = False) -> Iterator[bytes]:
        """Reads a blob from an offset.

        Args:
            project: Whose versions refer to it.
            digest: Which blob.
            offset_bytes: First byte.
            is_verified_by_caller: Whether the caller hashes it, so that it is not hashed here.

        Raises:
            BlobNotFound: No version of the project refers to such a blob.
            InvalidValue: The offset lies behind its end.
            FileDamaged: It is not stored any more, or not as it was saved; the latter shows at its end.
        """
        if not self._catalog.is_readable(project, digest):
            raise BlobNotFound(project, digest)
        try:
            size_bytes = self._blobs.stat(digest).size_bytes
            if offset_bytes > size_bytes:
                raise InvalidValue("offset_bytes", f"{offset_bytes:,} lies behind the end; the blob has {size_bytes:,} bytes")
            # A range is not verified, whatever its length.
            length = size_bytes - offset_bytes if is_verified_by_caller else None
            return checked(digest, self._blobs.open(digest, offset_bytes, length))
        except MissingBlob:
            raise blob_damaged(digest, "it is missing") from None

    def _completed_if_whole(self, upload: Upload, digest: str | None) -> UploadProgress:
        is_complete = digest is not None and upload.offset == upload.size_bytes
        if is_complete:
            self._blobs.complete(upload.upload_id, digest)
        return UploadProgress(upload.upload_id, digest or "", upload.size_bytes, upload.offset, is_complete)
