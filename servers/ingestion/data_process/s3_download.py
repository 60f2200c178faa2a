"""Objects of an S3 as local files."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from minio import Minio
from minio.datatypes import Object
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from blob_store.s3 import connect
from servers.ingestion.data_process.s3_region import region
from servers.ingestion.data_process.source_errors import SourceNotFound, SourceNotReadable, SourceUnavailable
from servers.ingestion.data_process.source_uris import S3Uri
from servers.ingestion.errors import FileTooLarge
from servers.ingestion.table_errors import StorageFull

_AWS = "https://s3.amazonaws.com"
_CHUNK_BYTES = 1 << 20
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion"})
_REFUSED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled"})


@contextmanager
def downloaded(uri: S3Uri, endpoint: str, folder: Path, max_bytes: int) -> Iterator[Path]:
    """Keeps an object as a file as long as the block runs.

    Credentials are looked for where AWS tools look.

    Args:
        uri: The object.
        endpoint: `http(s)://host:port`; empty = AWS.
        folder: For the file.
        max_bytes: Largest object.

    Raises:
        SourceNotFound: NOT_FOUND: there is no such object.
        SourceNotReadable: FAILED_PRECONDITION: the S3 does not let us in, or there are no credentials.
        SourceUnavailable: UNAVAILABLE: the S3 does not answer.
        FileTooLarge: RESOURCE_EXHAUSTED: the object is larger than allowed.
        StorageFull: RESOURCE_EXHAUSTED: there is no space for it.
    """
    descriptor, name = tempfile.mkstemp(prefix="download-", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            _download(uri, connect(endpoint or _AWS, region=region()), file, max_bytes)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _download(uri: S3Uri, client: Minio, file: IO[bytes], max_bytes: int) -> None:
    try:
        found = _found(uri, client)
        _check_size(uri, found.size or 0, max_bytes)
        # The same bytes that were measured, should somebody write the object anew.
        headers: dict[str, str | list[str] | tuple[str]] | None = {"If-Match": f'"{found.etag}"'} if found.etag else None
        received = 0
        with closing(client.get_object(uri.bucket, uri.key, request_headers=headers)) as response:
            for chunk in response.stream(_CHUNK_BYTES):
                received += len(chunk)
                _check_size(uri, received, max_bytes)
                _write(file, chunk)
            response.release_conn()
        if received != found.size:
            raise SourceUnavailable(uri.name, "the connection ended too early")
    except S3Error as error:
        if error.code in _MISSING:
            raise SourceNotFound(uri.name) from None
        if error.code in _REFUSED:
            raise SourceNotReadable(uri.name, f"S3 answers {error.code}") from None
        raise SourceUnavailable(uri.name, f"S3 answers {error.code}") from None
    except (MinioException, HTTPError) as error:
        # Their texts have addresses in them.
        raise SourceUnavailable(uri.name, type(error).__name__) from None


def _found(uri: S3Uri, client: Minio) -> Object:
    try:
        return client.stat_object(uri.bucket, uri.key)
    except (ValueError, OSError):
        # This is how the SDK says that none of its sources has credentials.
        raise SourceNotReadable(uri.name, "there are no credentials for S3") from None


def _check_size(uri: S3Uri, size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise FileTooLarge(f"it has {size_bytes:,} bytes or more, and at most {max_bytes:,} are allowed. Split it", file=uri.name)


def _write(file: IO[bytes], chunk: bytes) -> None:
    unwritten = memoryview(chunk)
    try:
        while unwritten:
            unwritten = unwritten[file.write(unwritten) :]
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise
