"""Resumable uploads in a bucket.

An upload is an object ``begun`` (what was announced) and pieces, each under the offset where it begins. A piece is made only where
there is none at that offset, and only at the end of the pieces before, so that the pieces of two writers can neither overlap nor replace
each other: one of them goes on, the other learns where the upload stands. Completing joins the pieces inside of S3.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path

from minio import Minio
from minio.commonconfig import ComposeSource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from blob_store.digest import CHUNK_BYTES, BesideHasher, digest_of, hex_of
from blob_store.durable_files import full_disk_is_typed, write_all
from blob_store.errors import (
    BlobNotFound,
    BlobTooLarge,
    DigestMismatch,
    OffsetMismatch,
    StoreUnavailable,
    UploadIncomplete,
    UploadNotFound,
)
from blob_store.s3_errors import typed_s3_errors
from blob_store.s3_multipart import MIN_PART_BYTES, MOST_PARTS, in_parts, put_if_absent
from blob_store.store import Blob, Upload, UploadId, chunks_of
from blob_store.upload_hashes import UploadHashes

__all__ = ["S3Uploads"]

_MOST_PIECES = 9_000


@dataclass(frozen=True, slots=True)
class _Piece:
    key: str
    offset: int
    size_bytes: int


class S3Uploads:
    """The uploads of one `S3BlobStore`.

    Args:
        client: Of the S3.
        bucket: Where they are.
        prefix: Put before their keys; ends with ``/``.
        part_bytes: Size of a piece, where more is sent at once.
    """

    def __init__(self, client: Minio, bucket: str, prefix: str, part_bytes: int) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._part_bytes = part_bytes
        self._hashes = UploadHashes()

    def begin(self, digest: str | None, size_bytes: int) -> str:
        """Announce an upload and return its id."""
        upload_id = str(UploadId.new(digest))
        if size_bytes < 0:
            raise ValueError(f"an upload has 0 bytes or more, not {size_bytes}")
        put_if_absent(self._client, self._bucket, self._folder(upload_id) + "begun", json.dumps({"size_bytes": size_bytes}).encode())
        return upload_id

    def get(self, upload_id: str) -> Upload:
        """Return where an upload stands."""
        upload, _ = self._look_up(upload_id)
        return upload

    def append(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Go on with an upload and return where it stands then."""
        upload, _ = self._look_up(upload_id)
        if offset != upload.offset:
            raise OffsetMismatch(offset, upload.offset)
        running = self._hashes.take(upload_id, offset)
        written = offset
        part_bytes = max(self._part_bytes, -(-upload.size_bytes // _MOST_PIECES))
        source = _Interruptible(chunks_of(chunks))
        with BesideHasher(running) as hasher:
            try:
                for piece in in_parts(source, part_bytes):
                    if written + len(piece) > upload.size_bytes:
                        raise BlobTooLarge(upload.size_bytes)
                    if not put_if_absent(self._client, self._bucket, f"{self._folder(upload_id)}pieces/{written:020d}", piece):
                        raise OffsetMismatch(written, self.get(upload_id).offset)
                    written += len(piece)
                    if running is not None:
                        hasher.update(piece)
            finally:
                if running is not None:
                    self._hashes.keep(upload_id, written, hasher.finish())
        try:
            self._size_announced(upload_id)
        except UploadNotFound:
            # It was completed or aborted by somebody else meanwhile: what was just sent belongs to nothing.
            self._remove(self._folder(upload_id))
            raise
        if source.interruption is not None:
            raise source.interruption
        return written

    def complete(
        self,
        upload_id: str,
        told: str | None,
        stat: Callable[[str], Blob],
        renew: Callable[[str], bool],
        send: Callable[[Iterable[bytes], str], Blob],
    ) -> Blob:
        """Check an upload, make it a blob, and forget the upload.

        Args:
            upload_id: Which.
            told: Digest of the whole; None = the one that was announced.
            stat: Looks a blob up.
            renew: Renews the time of a blob; tells whether there is one.
            send: Stores chunks after checking them against a digest.
        """
        expected = UploadId.parse(upload_id).expected(told)
        try:
            blob = self._stored(upload_id, expected, stat, renew, send)
        except UploadNotFound:
            return _stored_before(upload_id, expected, stat)
        except DigestMismatch:
            self.abort(upload_id)
            raise
        except (StoreUnavailable, UploadIncomplete):
            # Another call of `complete` may have been faster, and have taken the pieces away.
            try:
                self._size_announced(upload_id)
            except UploadNotFound:
                return _stored_before(upload_id, expected, stat)
            raise
        self.abort(upload_id)
        return blob

    def abort(self, upload_id: str) -> None:
        """Take an upload away."""
        with contextlib.suppress(UploadNotFound):  # no upload can have such an id
            self._remove(self._folder(upload_id))

    @contextlib.contextmanager
    def opened(self, upload_id: str, folder: Path) -> Iterator[Path]:
        """Give an upload as a file, a copy of it."""
        _, pieces = self._look_up(upload_id)
        with tempfile.NamedTemporaryFile(prefix="upload-", dir=folder, buffering=0) as copy:
            with full_disk_is_typed():
                for chunk in self._read(pieces):
                    write_all(copy.fileno(), chunk)
            yield Path(copy.name)

    def remove_stale(self, before: datetime, keep: Collection[str]) -> int:
        """Take away uploads that nobody wrote to since then."""
        with typed_s3_errors():
            listed = self._client.list_objects(self._bucket, prefix=self._prefix, recursive=True)
            newest = [
                (folder, max((found.last_modified for found in objects if found.last_modified), default=before))
                for folder, objects in groupby(listed, lambda found: str(found.object_name)[len(self._prefix) :].partition("/")[0])
            ]
        stale = [folder for folder, touched in newest if touched < before and folder not in keep]
        for folder in stale:
            self._remove(f"{self._prefix}{folder}/")
        return len(stale)

    def _stored(
        self,
        upload_id: str,
        expected: str | None,
        stat: Callable[[str], Blob],
        renew: Callable[[str], bool],
        send: Callable[[Iterable[bytes], str], Blob],
    ) -> Blob:
        upload, pieces = self._look_up(upload_id)
        if upload.offset != upload.size_bytes:
            raise UploadIncomplete(upload.size_bytes, upload.offset)
        if expected is None:
            raise ValueError("no digest was announced for this upload; tell it to complete it")
        running = self._hashes.take(upload_id, upload.offset)
        if running is not None and (actual := digest_of(running.hexdigest())) != expected:
            raise DigestMismatch(expected, actual)
        can_be_joined = 0 < len(pieces) <= MOST_PARTS and all(piece.size_bytes >= MIN_PART_BYTES for piece in pieces[:-1])
        if running is None or not can_be_joined:
            return send(self._read(pieces), expected)
        return stat(expected) if renew(expected) else self._join(pieces, expected, stat)

    def _folder(self, upload_id: str) -> str:
        return f"{self._prefix}{UploadId.parse(upload_id)}/"

    def _size_announced(self, upload_id: str) -> int:
        with typed_s3_errors():
            try:
                response = self._client.get_object(self._bucket, self._folder(upload_id) + "begun")
            except S3Error as error:
                if error.code == "NoSuchKey":
                    raise UploadNotFound(upload_id) from None
                raise
            try:
                return int(json.loads(response.read())["size_bytes"])
            finally:
                response.close()
                response.release_conn()

    def _look_up(self, upload_id: str) -> tuple[Upload, list[_Piece]]:
        size_bytes = self._size_announced(upload_id)
        with typed_s3_errors():
            listed = self._client.list_objects(self._bucket, prefix=f"{self._folder(upload_id)}pieces/", recursive=True)
            pieces = [_Piece(str(found.object_name), int(str(found.object_name)[-20:]), found.size or 0) for found in listed]
        offset = pieces[-1].offset + pieces[-1].size_bytes if pieces else 0
        if (pieces and pieces[0].offset != 0) or any(a.offset + a.size_bytes != b.offset for a, b in pairwise(pieces)):
            raise StoreUnavailable("pieces of an upload are missing; begin it again")
        return Upload(upload_id, UploadId.parse(upload_id).digest, size_bytes, offset), pieces

    def _read(self, pieces: Iterable[_Piece]) -> Iterator[bytes]:
        for piece in pieces:
            with typed_s3_errors():
                response = self._client.get_object(self._bucket, piece.key)
                try:
                    yield from response.stream(CHUNK_BYTES)
                finally:
                    response.close()
                    response.release_conn()

    def _join(self, pieces: Iterable[_Piece], digest: str, stat: Callable[[str], Blob]) -> Blob:
        digits = hex_of(digest)
        key = f"{self._prefix.removesuffix('uploads/')}objects/{digits[:2]}/{digits[2:]}"
        with typed_s3_errors():
            self._client.compose_object(self._bucket, key, [ComposeSource(self._bucket, piece.key) for piece in pieces])
        return stat(digest)

    def _remove(self, prefix: str) -> None:
        with typed_s3_errors():
            # First of all the upload is gone; pieces that are left when this dies here are found by `remove_stale`.
            self._client.remove_object(self._bucket, f"{prefix}begun")
            keys = [str(found.object_name) for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True)]
            for error in self._client.remove_objects(self._bucket, [DeleteObject(key) for key in keys]):
                raise StoreUnavailable(f"S3 answers {error.code}")


def _stored_before(upload_id: str, expected: str | None, stat: Callable[[str], Blob]) -> Blob:
    if expected is None:
        raise UploadNotFound(upload_id)
    try:
        return stat(expected)
    except BlobNotFound:
        raise UploadNotFound(upload_id) from None


class _Interruptible(Iterator[bytes]):
    """Chunks that end where their source fails, so that what came before is stored; the failure is kept for later."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.interruption: BaseException | None = None

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            self.interruption = error
            raise StopIteration from None
