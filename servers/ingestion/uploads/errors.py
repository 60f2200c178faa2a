"""What can be wrong with an upload."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted


class UploadNotFound(NotFound):
    """There is no such upload, it expired or was ingested, or it is another project's.

    Args:
        upload_id: What was asked for.
        project: Where.
    """

    reason = "UPLOAD_NOT_FOUND"

    def __init__(self, upload_id: str, project: str) -> None:
        super().__init__(
            f"there is no upload {upload_id!r} in project {project!r}, or no more: it was ingested, deleted, or nothing came for too long; "
            "begin it again",
            metadata={"id": upload_id, "project": project},
            resource=("mlops.ingestion.v1.DataUpload", upload_id),
        )


class UploadIncomplete(FailedPrecondition):
    """An upload is to be read, and bytes of it are missing.

    Args:
        upload_id: Which.
        offset_bytes: What is there.
        size_bytes: What was announced.
    """

    reason = "UPLOAD_INCOMPLETE"

    def __init__(self, upload_id: str, offset_bytes: int, size_bytes: int) -> None:
        message = f"the upload has {offset_bytes:,} of {size_bytes:,} bytes; send the rest from byte {offset_bytes} on"
        super().__init__(
            message,
            metadata={"id": upload_id, "offset_bytes": str(offset_bytes), "size_bytes": str(size_bytes)},
            preconditions=[("UPLOAD_COMPLETE", upload_id, message)],
        )


class WrongOffset(FailedPrecondition):
    """Bytes do not continue where the upload stands, or somebody else went on with it meanwhile.

    Args:
        upload_id: Which.
        stated_bytes: Where the caller wanted to go on.
        offset_bytes: Where the upload stands.
    """

    reason = "UPLOAD_OFFSET_MISMATCH"

    def __init__(self, upload_id: str, stated_bytes: int, offset_bytes: int) -> None:
        message = f"the upload stands at byte {offset_bytes}, not {stated_bytes}; go on from there"
        super().__init__(
            message,
            metadata={"current_offset": str(offset_bytes)},
            preconditions=[("UPLOAD_OFFSET", upload_id, message)],
        )


class UploadInUse(FailedPrecondition):
    """An upload is to be deleted, and an ingestion needs it.

    Args:
        upload_id: Which.
        ingestion_id: One of the ingestions.
    """

    reason = "UPLOAD_IN_USE"

    def __init__(self, upload_id: str, ingestion_id: str) -> None:
        message = f"ingestion {ingestion_id} needs the upload, which goes when that has ended; wait for it, or cancel it"
        super().__init__(
            message, metadata={"id": upload_id, "ingestion_id": ingestion_id}, preconditions=[("UPLOAD_UNUSED", upload_id, message)]
        )


class TooManyBytes(InvalidArgument):
    """More bytes came than were announced.

    Args:
        size_bytes: What was announced.
    """

    reason = "UPLOAD_TOO_LONG"

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"more came than the {size_bytes:,} bytes that were announced; what did not fit is not stored. Has the file grown? Begin again",
            metadata={"size_bytes": str(size_bytes)},
        )


class UploadLimitReached(ResourceExhausted):
    """A project has as many uploads, or bytes in them, as it may.

    Args:
        what: Which limit, as a clause.
        setting: Name of the setting.
    """

    reason = "UPLOAD_LIMIT_REACHED"

    def __init__(self, what: str, setting: str) -> None:
        super().__init__(
            f"the project's uploads would have {what}; ingest or delete some of them, or raise MLMESH_INGESTION_{setting.upper()}",
            metadata={"setting": setting},
        )


class TooManySenders(ResourceExhausted):
    """The server takes as many uploads at a time as it may.

    Args:
        most: How many.
    """

    reason = "TOO_MANY_UPLOADS"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"this server takes {most:,} uploads at the same time, and no more; repeat the call later",
            metadata={"concurrent_uploads": str(most)},
            retry_after_s=1,
        )


class UploadMisused(InvalidArgument):
    """The messages of an upload do not come as the contract has them."""

    reason = "UPLOAD_MISUSED"
