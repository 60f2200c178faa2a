"""What can be wrong with a source that a request names."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

ALLOWING_SETTING = "MLMESH_INGESTION_ALLOWED_SOURCES"


class InvalidSourceUri(InvalidArgument):
    """A source's URI cannot be understood, or names nothing that can be read. Never repeats the URI: it may have credentials in it."""

    reason = "INVALID_SOURCE_URI"

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"the source's URI {problem}; allowed are file:///folder/file and s3://bucket/key, percent-encoded, without credentials, "
            "query and fragment",
            field_violations=[("source.uri", problem)],
        )


class SourceNotAllowed(InvalidArgument):
    """A source lies where the server may not read for callers."""

    reason = "SOURCE_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__(
            f"the source does not lie where the server may read; its operator says where with {ALLOWING_SETTING}, or upload the file",
            field_violations=[("source.uri", "not in an allowed place")],
        )


class SourceNotFound(NotFound):
    """There is no such file or object."""

    reason = "SOURCE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no source {name[:255]!r}; check its name, and whether it was written")


class SourceNotReadable(FailedPrecondition):
    """The source is there or not, and the server is not let in."""

    reason = "SOURCE_NOT_READABLE"

    def __init__(self, name: str, detail: str) -> None:
        message = f"the server may not read the source {name[:255]!r} ({detail}); give it the permission"
        super().__init__(message, preconditions=[("PERMISSION", name[:255], message)])


class SourceUnavailable(Unavailable):
    """What the source is in does not answer, or stopped in the middle."""

    reason = "SOURCE_UNAVAILABLE"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"the source {name[:255]!r} cannot be fetched ({detail}); repeat the call", retry_after_s=5)
