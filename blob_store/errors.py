"""What can go wrong with blobs, one type a cause, so that a server can answer each with its own code."""

from __future__ import annotations

__all__ = [
    "BlobNotFound",
    "BlobStoreError",
    "BlobTooLarge",
    "DigestMismatch",
    "InvalidDigest",
    "OffsetMismatch",
    "StorageFull",
    "StoreUnavailable",
    "UploadIncomplete",
    "UploadNotFound",
]


class BlobStoreError(Exception):
    """Every error of this package."""


class InvalidDigest(BlobStoreError, ValueError):
    """The text is not ``sha256:`` followed by 64 lower-case hexadecimal digits."""

    def __init__(self, text: object) -> None:
        super().__init__(f"{str(text)[:100]!r} is not a digest; a digest is 'sha256:' and 64 digits of 0-9a-f")


class BlobNotFound(BlobStoreError):
    """No blob has this digest.

    Args:
        digest: The digest that was asked for.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(f"no blob has the digest {digest}")
        self.digest = digest


class DigestMismatch(BlobStoreError):
    """The content is not what its digest says: the sender was wrong, or what is stored has rotted.

    Args:
        expected: The digest that was stated.
        actual: The digest of what came.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the content has the digest {actual}, not {expected}")
        self.expected = expected
        self.actual = actual


class BlobTooLarge(BlobStoreError):
    """The content is larger than the limit, or than the sender had said.

    Args:
        limit_bytes: The largest size that is taken.
    """

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the content is larger than {limit_bytes:,} bytes")
        self.limit_bytes = limit_bytes


class StorageFull(BlobStoreError):
    """There is no space left where blobs are stored. What was being written has been taken away again.

    Args:
        needed_bytes: What was asked for, where that is known.
        free_bytes: What there is, where that is known.
    """

    def __init__(self, needed_bytes: int | None = None, free_bytes: int | None = None) -> None:
        sizes = f": {needed_bytes:,} bytes needed, {free_bytes:,} free" if needed_bytes is not None and free_bytes is not None else ""
        super().__init__(f"the blob store is full{sizes}; make room and try again")
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class StoreUnavailable(BlobStoreError):
    """The store does not answer, or refuses its credentials.

    Args:
        what: The cause in words that may be shown to an operator.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"the blob store is not available: {what}")


class UploadNotFound(BlobStoreError):
    """The upload was never begun, was given up, or expired.

    Args:
        upload_id: The id that was asked for.
    """

    def __init__(self, upload_id: object) -> None:
        super().__init__(f"there is no upload {str(upload_id)[:100]!r}; begin it again")


class OffsetMismatch(BlobStoreError):
    """The bytes do not continue where the upload stands; go on at `current_offset`.

    Args:
        stated_offset: Where the caller wanted to go on.
        current_offset: How many bytes the store has.
    """

    def __init__(self, stated_offset: int, current_offset: int) -> None:
        super().__init__(f"the upload stands at byte {current_offset}, not {stated_offset}; go on from there")
        self.stated_offset = stated_offset
        self.current_offset = current_offset


class UploadIncomplete(BlobStoreError):
    """The upload cannot be completed: bytes are missing.

    Args:
        size_bytes: What was announced.
        current_offset: What has come.
    """

    def __init__(self, size_bytes: int, current_offset: int) -> None:
        super().__init__(f"the upload has {current_offset:,} of {size_bytes:,} bytes; send the rest first")
        self.size_bytes = size_bytes
        self.current_offset = current_offset
