"""What the errors of the model library are on the wire, and the errors that only a server has."""

from __future__ import annotations

from collections.abc import Sequence

from grpc import StatusCode

from blob_store import BlobTooLarge, DigestMismatch, InvalidDigest, OffsetMismatch, UploadNotFound
from model_management import errors as library
from servers.runtime.errors import (
    Aborted,
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)


class FileDamaged(DomainError):
    """A stored file is not what was saved."""

    code = StatusCode.DATA_LOSS
    reason = "ARTIFACT_DAMAGED"


def blob_damaged(digest: str, how: str) -> FileDamaged:
    """Says that a blob that versions refer to is not stored as it was saved."""
    return FileDamaged(f"the stored blob {digest} is damaged: {how}; restore it from a backup", metadata={"digest": digest})


class BlobNotFound(NotFound):
    """No version of the project refers to the blob, or it is not stored."""

    reason = "BLOB_NOT_FOUND"

    def __init__(self, project: str, digest: str) -> None:
        super().__init__(f"no version in project {project!r} refers to the blob {digest}", metadata={"project": project, "digest": digest})


class FileNotInVersion(NotFound):
    """The version has no file of this path."""

    reason = "FILE_NOT_FOUND"

    def __init__(self, model: str, version: int, path: str, known: Sequence[str]) -> None:
        shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        super().__init__(
            f"version {version} of model {model!r} has no file {path!r}; it has {shown or 'none'}",
            metadata={"model": model, "version": str(version), "path": path},
        )


def from_library(error: BaseException) -> DomainError | None:
    """Says what an error of the model library or of its blob store is to a caller.

    Args:
        error: Anything raised while serving a call.

    Returns:
        The error to answer with; None for what neither of them raises on purpose.
    """
    if isinstance(error, library.RegistryError):
        return _from_registry(error)
    if isinstance(error, OffsetMismatch):
        return FailedPrecondition(
            str(error),
            metadata={"current_offset": str(error.current_offset)},
            preconditions=[("UPLOAD_OFFSET", str(error.stated_offset), str(error))],
            reason="UPLOAD_OFFSET_MISMATCH",
        )
    if isinstance(error, UploadNotFound):
        return NotFound(str(error), reason="UPLOAD_NOT_FOUND")
    if isinstance(error, DigestMismatch):
        return InvalidArgument(str(error), metadata={"expected": error.expected, "actual": error.actual}, reason="DIGEST_MISMATCH")
    if isinstance(error, BlobTooLarge | InvalidDigest):
        return InvalidArgument(str(error), reason="BLOB_REFUSED")
    return None


def _from_registry(error: library.RegistryError) -> DomainError:
    message, metadata, reason = error.message, error.metadata, error.reason
    if isinstance(error, library.InvalidValue):
        return InvalidArgument(message, metadata=metadata, field_violations=[(error.field, error.description)], reason=reason)
    if isinstance(error, library.NotFoundError):
        name = "/".join(filter(None, (metadata.get("project", ""), metadata.get("model", ""))))
        return NotFound(message, metadata=metadata, resource=("mlops.registry.v1.Model", name), reason=reason)
    if isinstance(error, library.ModelExists | library.RequestIdReused):
        return AlreadyExists(message, metadata=metadata, reason=reason)
    if isinstance(error, library.EtagMismatch):
        return Aborted(message, metadata=metadata, reason=reason)
    if isinstance(error, library.FileDamaged):
        return FileDamaged(message, metadata=metadata)
    if isinstance(error, library.StorageFull):
        return ResourceExhausted(message, metadata=metadata, reason=reason)
    if isinstance(error, library.MetadataUnavailable):
        return Unavailable(message, metadata=metadata, reason=reason, retry_after_s=1)
    return FailedPrecondition(message, metadata=metadata, preconditions=[(reason, metadata.get("model", ""), message)], reason=reason)
