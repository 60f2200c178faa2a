"""From the errors of an S3 to the errors of a blob store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from blob_store.errors import BlobNotFound, StorageFull, StoreUnavailable

__all__ = ["typed_s3_errors"]

_FULL_CODES = frozenset({"QuotaExceeded", "StorageFull", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"})
_INSUFFICIENT_STORAGE = 507


@contextmanager
def typed_s3_errors(digest: str | None = None) -> Iterator[None]:
    """Turn what the SDK raises into errors of this package. Their texts name codes of S3 and no addresses.

    Args:
        digest: The blob that is asked for: then a missing key is `BlobNotFound`.
    """
    try:
        yield
    except S3Error as error:
        if digest is not None and error.code == "NoSuchKey":
            raise BlobNotFound(digest) from None
        if error.code in _FULL_CODES:
            raise StorageFull from error
        raise StoreUnavailable(f"S3 answers {error.code}") from error
    except (ServerError, InvalidResponseError) as error:
        status = getattr(error, "status_code", None) or getattr(error, "_code", None)
        if status == _INSUFFICIENT_STORAGE:
            raise StorageFull from error
        raise StoreUnavailable(f"S3 answers with status {status}") from error
    except MinioException as error:
        raise StoreUnavailable(f"S3 fails with {type(error).__name__}") from error
    except HTTPError as error:
        raise StoreUnavailable(f"S3 cannot be reached ({type(error).__name__})") from error
