"""Blobs in a bucket of any S3, through the `minio` SDK."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import REPLACE, CopySource
from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider, Provider, StaticProvider
from minio.datatypes import Object

from blob_store.digest import CHUNK_BYTES, BesideHasher, digest_of, hex_of
from blob_store.durable_files import full_disk_is_typed
from blob_store.errors import BlobNotFound, BlobTooLarge, DigestMismatch, StoreUnavailable
from blob_store.s3_errors import typed_s3_errors
from blob_store.s3_multipart import abort_multipart_before, in_parts, put_parts
from blob_store.s3_uploads import S3Uploads
from blob_store.store import Blob, BlobReader, Upload, chunks_of

__all__ = ["S3BlobStore", "connect"]

_PAGE = 1000
_HEADS_AT_ONCE = 8
_WORTH_LISTING = 32
"""A page of a listing costs about as much as this many HEAD requests."""
_COPY_AT_MOST_BYTES = 5 << 30


def connect(
    endpoint: str,
    *,
    region: str | None = None,
    credentials: tuple[str, str] | None = None,
    connect_timeout_s: float = 5,
    read_timeout_s: float = 60,
) -> Minio:
    """Make a client of an S3.

    Args:
        endpoint: ``https://host:port`` or ``http://host:port``.
        region: Of the bucket; ``us-east-1``, which most servers but AWS ignore, by default.
        credentials: Access key and secret key; looked for where AWS tools look, by default.
        connect_timeout_s: How long a connection may take.
        read_timeout_s: How long an answer may stall.

    Raises:
        ValueError: If the endpoint is not such a URL.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query or "@" in parts.netloc:
        raise ValueError(f"{endpoint!r} is not an endpoint of the form https://host:port")
    provider: Provider = (
        ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()]) if credentials is None else StaticProvider(*credentials)
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
        maxsize=32,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], allowed_methods=None),
    )
    return Minio(parts.netloc, secure=parts.scheme == "https", region=region or "us-east-1", credentials=provider, http_client=pool)


class S3BlobStore:
    """A `BlobStore` in a bucket: ``<prefix>objects/ab/cdef…`` are blobs, ``<prefix>uploads/`` what is being sent.

    An object of S3 appears whole or not at all, so a blob needs no second name: its bytes go straight to their key as a multipart upload
    which is given up where they do not hash to the digest.

    Args:
        client: Knows endpoint and credentials; see `connect`.
        bucket: An existing bucket.
        prefix: Put before every key, to share the bucket.
        part_bytes: Size of the parts of large content, at least 5 MiB. A transfer holds up to five of them in memory.
        renew_after: Putting a content again renews the time of a blob that is older than this. A garbage collector has to leave
            alone what is younger than this and the longest save together.
    """

    def __init__(
        self,
        client: Minio,
        bucket: str,
        prefix: str = "",
        *,
        part_bytes: int = 16 << 20,
        renew_after: timedelta = timedelta(minutes=15),
    ) -> None:
        prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = client
        self._bucket = bucket
        self._objects = f"{prefix}objects/"
        self._part_bytes = part_bytes
        self._renew_after = renew_after
        self._uploads = S3Uploads(client, bucket, f"{prefix}uploads/", part_bytes)

    def __repr__(self) -> str:
        return f"S3BlobStore({self._bucket!r}, {self._objects!r})"

    def put(self, source: Iterable[bytes] | BinaryIO, expected_digest: str | None = None, *, max_size_bytes: int | None = None) -> Blob:
        """Store what comes out of `source`; see `BlobStore.put`.

        Without `expected_digest` the key is not known before the end, and the bytes wait in a temporary file.
        """
        chunks = _capped(chunks_of(source), max_size_bytes)
        if expected_digest is not None:
            return self._send(chunks, expected_digest)
        with tempfile.TemporaryFile(buffering=0) as file, BesideHasher() as hasher:
            for chunk in chunks:
                hasher.update(chunk)
                with full_disk_is_typed():
                    file.write(chunk)
            file.seek(0)
            return self._send(chunks_of(file), hasher.digest())

    def put_file(self, path: Path, expected_digest: str | None = None, *, take_ownership: bool = False) -> Blob:
        """Store a file; see `BlobStore.put_file`."""
        with path.open("rb", buffering=0) as file:
            if expected_digest is None:
                with BesideHasher() as hasher:
                    for chunk in chunks_of(file):
                        hasher.update(chunk)
                    expected_digest = hasher.digest()
                file.seek(0)
            blob = self._send(chunks_of(file), expected_digest)
        if take_ownership:
            path.unlink()
        return blob

    def open(self, digest: str, offset: int = 0, length: int | None = None) -> BlobReader:
        """Read a blob; see `BlobStore.open`."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length are 0 or more")
        is_whole = offset == 0 and length is None
        count = 0
        if not is_whole:
            blob = self.stat(digest)
            if offset > blob.size_bytes:
                raise ValueError(f"offset {offset} lies behind the end of a blob of {blob.size_bytes} bytes")
            count = blob.size_bytes - offset if length is None else min(length, blob.size_bytes - offset)
            if count == 0:
                return BlobReader(blob, iter(()), lambda: None, is_whole=False)
        with typed_s3_errors(digest):
            response = self._client.get_object(self._bucket, self._key(digest), offset, count)
        if is_whole:
            modified = parsedate_to_datetime(response.headers["Last-Modified"])
            blob = Blob(digest, int(response.headers["Content-Length"]), modified.astimezone(UTC))

        def chunks() -> Iterator[bytes]:
            with typed_s3_errors(digest):
                yield from response.stream(CHUNK_BYTES)

        def close() -> None:
            response.close()
            response.release_conn()

        return BlobReader(blob, chunks(), close, is_whole=is_whole)

    def stat(self, digest: str) -> Blob:
        """Return size and time of a blob; see `BlobStore.stat`."""
        with typed_s3_errors(digest):
            return _blob(digest, self._client.stat_object(self._bucket, self._key(digest)))

    def exists_many(self, digests: Iterable[str]) -> frozenset[str]:
        """Return those of the digests that are there.

        S3 cannot be asked for many keys at once. A page of a listing answers for a thousand neighbouring keys, so the digests are
        walked in their order, each page from the next one that is still open. Where the store is so large that a page
        answers for hardly any of them, the rest are asked for one by one, several at once.
        """
        asked = frozenset(digests)
        wanted = sorted(asked)
        found: set[str] = set()
        while len(wanted) >= _WORTH_LISTING:
            # A key without its last digit sorts just before it; `start_after` is exclusive.
            page = list(islice(self._list(start_after=self._key(wanted[0])[:-1]), _PAGE))
            found.update(blob.digest for blob in page)
            last = page[-1].digest if len(page) == _PAGE else wanted[-1]
            answered = sum(digest <= last for digest in wanted)
            wanted = wanted[answered:]
            if answered < _WORTH_LISTING:
                break
        with ThreadPoolExecutor(_HEADS_AT_ONCE, thread_name_prefix="blob-head") as threads:
            found.update(digest for digest, is_there in zip(wanted, threads.map(self._exists, wanted), strict=True) if is_there)
        return asked & found

    def delete(self, digest: str, *, if_stored_before: datetime | None = None) -> bool:
        """Take a blob away; see `BlobStore.delete`. S3 has no condition on a time, so milliseconds lie between looking and deleting."""
        try:
            blob = self.stat(digest)
        except BlobNotFound:
            return False
        if if_stored_before is not None and blob.stored_time >= if_stored_before:
            return False
        with typed_s3_errors():
            self._client.remove_object(self._bucket, self._key(digest))
        return True

    def iterate(self) -> Iterator[Blob]:
        """Return all blobs in the order of their digests."""
        return self._list(start_after=None)

    def begin_upload(self, digest: str | None, size_bytes: int) -> str:
        """Begin an upload; see `BlobStore.begin_upload`."""
        return self._uploads.begin(digest, size_bytes)

    def upload(self, upload_id: str) -> Upload:
        """Return where an upload stands; see `BlobStore.upload`."""
        return self._uploads.get(upload_id)

    def append(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Go on with an upload; see `BlobStore.append`. Of two that go on at once, the first piece at an offset wins."""
        return self._uploads.append(upload_id, offset, chunks)

    def complete(self, upload_id: str, digest: str | None = None) -> Blob:
        """Check an upload and make it a blob; see `BlobStore.complete`."""
        return self._uploads.complete(upload_id, digest, self.stat, self._renew, self._send)

    def opened_upload(self, upload_id: str, folder: Path) -> AbstractContextManager[Path]:
        """Give an upload as a file, a copy of it; see `BlobStore.opened_upload`."""
        return self._uploads.opened(upload_id, folder)

    def abort_upload(self, upload_id: str) -> None:
        """Take an upload away; see `BlobStore.abort_upload`."""
        self._uploads.abort(upload_id)

    def remove_stale(self, before: datetime, *, keep: Collection[str] = ()) -> int:
        """Take away uploads and parts not touched since then; see `BlobStore.remove_stale`."""
        return self._uploads.remove_stale(before, keep) + abort_multipart_before(
            self._client, self._bucket, self._objects, before.timestamp()
        )

    def check(self) -> None:
        """Find out whether the bucket can be reached; see `BlobStore.check`."""
        try:
            with typed_s3_errors():
                is_there = self._client.bucket_exists(self._bucket)
        except (ValueError, OSError) as error:
            # This is how the SDK says that none of its sources has credentials.
            raise StoreUnavailable("no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from error
        if not is_there:
            raise StoreUnavailable(f"there is no bucket {self._bucket!r}; create it")

    def _key(self, digest: str) -> str:
        digits = hex_of(digest)
        return f"{self._objects}{digits[:2]}/{digits[2:]}"

    def _exists(self, digest: str) -> bool:
        try:
            self.stat(digest)
        except BlobNotFound:
            return False
        return True

    def _list(self, start_after: str | None) -> Iterator[Blob]:
        with typed_s3_errors():
            for found in self._client.list_objects(self._bucket, prefix=self._objects, recursive=True, start_after=start_after):
                digits = str(found.object_name)[len(self._objects) :].replace("/", "")
                if len(digits) == 64:
                    yield _blob(digest_of(digits), found)

    def _renew(self, digest: str) -> bool:
        """Tell whether the blob is there, and let its time be recent."""
        try:
            blob = self.stat(digest)
        except BlobNotFound:
            return False
        if blob.stored_time >= datetime.now(UTC) - self._renew_after:
            return True
        if blob.size_bytes > _COPY_AT_MOST_BYTES:
            # S3 copies no more than this in one request; it is sent again.
            return False
        key = self._key(digest)
        try:
            with typed_s3_errors(digest):
                # S3 refuses to copy an object onto itself unless something about it changes.
                renewed = {"renewed": datetime.now(UTC).isoformat()}
                self._client.copy_object(
                    self._bucket, key, CopySource(self._bucket, key), metadata=dict(renewed), metadata_directive=REPLACE
                )
        except BlobNotFound:
            return False
        return True

    def _send(self, chunks: Iterable[bytes], digest: str) -> Blob:
        key = self._key(digest)
        with BesideHasher() as hasher:

            def verified() -> Iterator[bytes]:
                for chunk in chunks:
                    hasher.update(chunk)
                    yield chunk
                if (actual := hasher.digest()) != digest:
                    raise DigestMismatch(digest, actual)

            if self._renew(digest):
                for _ in verified():
                    pass
            else:
                put_parts(self._client, self._bucket, key, in_parts(verified(), self._part_bytes))
        return self.stat(digest)


def _blob(digest: str, found: Object) -> Blob:
    return Blob(digest, found.size or 0, found.last_modified or datetime.now(UTC))


def _capped(chunks: Iterable[bytes], max_size_bytes: int | None) -> Iterator[bytes]:
    size_bytes = 0
    for chunk in chunks:
        size_bytes += len(chunk)
        if max_size_bytes is not None and size_bytes > max_size_bytes:
            raise BlobTooLarge(max_size_bytes)
        yield chunk
