"""Delta tables opened at a version, with errors that say what is wrong. Loads deltalake only when it is called."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from servers.runtime.tables.errors import (
    StorageForbidden,
    StorageUnavailable,
    TableGone,
    TableNotReadable,
    VersionExpired,
    VersionNotFound,
)
from servers.runtime.tables.storage import TableStorage, table_path

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_KNOWN_FEATURES = {"timestampNtz"}
_FORBIDDEN = re.compile(
    r"lacked the necessary privileges|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|403 Forbidden|401 Unauthorized"
)
_MOST_CHARACTERS = 200


def opened(uri: str, version: int, storage: TableStorage) -> DeltaTable:
    """Opens a version of a table.

    Args:
        uri: `file:///folder/...` or `s3://bucket/...`.
        version: Which one.
        storage: Of the S3.

    Raises:
        TableGone: NOT_FOUND: there is no table.
        VersionNotFound: NOT_FOUND: it never had the version.
        VersionExpired: FAILED_PRECONDITION: it has forgotten the version.
        TableNotReadable: FAILED_PRECONDITION: it has partitions, mapped columns or deletion vectors.
        StorageForbidden: PERMISSION_DENIED: the S3 does not let us in.
        StorageUnavailable: UNAVAILABLE: the storage does not answer.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    path, options = table_path(uri), storage.options()
    with typed_errors(uri, version):
        latest = DeltaTable(path, storage_options=options)
        if not 0 <= version <= latest.version():
            raise VersionNotFound(uri, version, latest.version())
        try:
            table = latest if version == latest.version() else DeltaTable(path, version=version, storage_options=options)
        except DeltaError as error:
            if _FORBIDDEN.search(str(error)):
                raise
            raise VersionExpired(uri, version) from error
    _check_readable(uri, table)
    return table


def schema_of(table: DeltaTable) -> pa.Schema:
    """Returns a table's columns with the types that ingestion tells of them: plain Arrow ones, without metadata."""
    import pyarrow as pa

    return pa.schema([pa.field(each.name, each.type) for each in pa.schema(table.schema().to_arrow())])


@contextmanager
def typed_errors(uri: str, version: int) -> Iterator[None]:
    """Turns errors of deltalake and of the storage into errors of ours.

    Args:
        uri: Of the table.
        version: That is read, so that a missing file means that it expired.
    """
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        yield
    except TableNotFoundError as error:
        raise TableGone(uri) from error
    except FileNotFoundError as error:
        raise VersionExpired(uri, version) from error
    except (OSError, DeltaError) as error:
        words = str(error)
        if isinstance(error, PermissionError) or _FORBIDDEN.search(words):
            raise StorageForbidden(uri) from error
        raise StorageUnavailable(words.split("\n", 1)[0][:_MOST_CHARACTERS]) from error


def _check_readable(uri: str, table: DeltaTable) -> None:
    metadata, protocol = table.metadata(), table.protocol()
    if metadata.partition_columns:
        raise TableNotReadable(uri, "partitions")
    if unknown := sorted(set(protocol.reader_features or ()) - _KNOWN_FEATURES):
        raise TableNotReadable(uri, f"features ({', '.join(unknown)})")
    if metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        raise TableNotReadable(uri, "mapped columns")
