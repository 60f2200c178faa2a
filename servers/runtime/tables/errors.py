"""What can be wrong with a dataset that is read."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable


class TableGone(NotFound):
    """The dataset was deleted."""

    reason = "TABLE_NOT_FOUND"

    def __init__(self, uri: str) -> None:
        super().__init__(f"there is no table at {uri}; the dataset was deleted, or never written", metadata={"uri": uri})


class VersionNotFound(NotFound):
    """The table has never had the version."""

    reason = "TABLE_VERSION_NOT_FOUND"

    def __init__(self, uri: str, version: int, latest: int) -> None:
        super().__init__(
            f"the table at {uri} has no version {version}; its latest is {latest}", metadata={"uri": uri, "latest_version": str(latest)}
        )


class VersionExpired(FailedPrecondition):
    """A vacuum removed files of the version, or its entries of the log are older than the table keeps them."""

    reason = "TABLE_VERSION_EXPIRED"

    def __init__(self, uri: str, version: int) -> None:
        message = f"version {version} of the table at {uri} cannot be read any more, its files were removed; read a later version"
        super().__init__(message, metadata={"uri": uri, "version": str(version)}, preconditions=[("RETENTION", uri, message)])


class TableNotReadable(FailedPrecondition):
    """Another program gave the table what would be read wrongly."""

    reason = "TABLE_NOT_READABLE"

    def __init__(self, uri: str, what: str) -> None:
        message = f"another program gave the table at {uri} {what}, which is not read here; ingest its rows into another dataset"
        super().__init__(message, metadata={"uri": uri}, preconditions=[("TABLE", uri, message)])


class StorageForbidden(PermissionDenied):
    """The S3 does not let the server in."""

    reason = "TABLE_STORAGE_FORBIDDEN"

    def __init__(self, uri: str) -> None:
        super().__init__(f"the S3 refuses to let the server read {uri}; give its account the right to list and read there")


class StorageUnavailable(Unavailable):
    """The folder or the S3 does not answer."""

    reason = "TABLE_STORAGE_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__(f"the storage of tables does not answer ({detail}); check it, then repeat the call", retry_after_s=5)


class FullRecomputationNeeded(FailedPrecondition):
    """What changed between two versions cannot be said, or not be used, so all rows have to be read this once.

    Args:
        because: Why.
    """

    reason = "FULL_RECOMPUTATION_NEEDED"

    def __init__(self, because: str) -> None:
        super().__init__(f"a full recomputation is needed, because {because}")
        self.because = because
