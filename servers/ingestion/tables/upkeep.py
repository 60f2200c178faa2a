"""Going back, joining small files, removing old ones, deleting a table."""

from __future__ import annotations

import math
import shutil
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow.fs
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from servers.ingestion.table_errors import RetentionTooShort, VersionExpired, VersionNotFound
from servers.ingestion.tables.column_fence import column_change
from servers.ingestion.tables.delta_log import WRITER, TableLocation, exclusive


@dataclass(frozen=True, slots=True)
class Compaction:
    """What joining small files did."""

    version: int
    files_before: int
    """Of those that were joined."""
    files_after: int


def rollback(location: TableLocation, version: int) -> int:
    """Goes back; see `DatasetTable.rollback`."""

    def attempt() -> int:
        table = location.open()
        if version == table.version():
            return version
        if not 0 <= version < table.version():
            raise VersionNotFound(location.name, str(version), table.version())
        try:
            table.restore(version, commit_properties=exclusive(marks=(column_change(table.version() + 1),)))
        except DeltaError as error:
            if "missing file" not in str(error):
                raise
            raise VersionExpired(location.name, version) from error
        return location.open().version()

    return location.until_committed(attempt)


def compact(location: TableLocation) -> Compaction:
    """Joins small files; see `DatasetTable.compact`."""

    def attempt() -> Compaction:
        table = location.open()
        done = table.optimize.compact(writer_properties=WRITER)
        return Compaction(table.version(), int(done["numFilesRemoved"]), int(done["numFilesAdded"]))

    return location.until_committed(attempt)


def vacuum(location: TableLocation, retention: timedelta, shortest: timedelta) -> int:
    """Removes old files; see `DatasetTable.vacuum`."""
    if retention < shortest:
        raise RetentionTooShort(retention.total_seconds(), shortest.total_seconds())
    hours = math.ceil(retention / timedelta(hours=1))

    def attempt() -> int:
        # Our own lower limit replaces Delta's of a week. `full` also finds what crashed writers left behind.
        return len(location.open().vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True))

    return location.until_committed(attempt)


def delete(location: TableLocation) -> None:
    """Deletes the table; see `DatasetTable.delete`."""
    if not location.uri.startswith("s3://"):
        folder = Path(location.uri)
        # A rename makes the table vanish at once.
        gone = folder.with_name(f".deleted-{uuid.uuid4().hex}")
        try:
            folder.rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone)
        return
    with location.typed_errors():
        files = pyarrow.fs.PyFileSystem(DeltaStorageHandler(location.uri, location.options))
        found = files.get_file_info(pyarrow.fs.FileSelector("", recursive=True, allow_not_found=True))
        paths = [each.path for each in found if each.type == pyarrow.fs.FileType.File]
        # The log first and from its end: a table that is half deleted is an older version of itself, or none.
        log = sorted((path for path in paths if path.startswith("_delta_log/")), reverse=True)
        for path in (*log, *(path for path in paths if not path.startswith("_delta_log/"))):
            files.delete_file(path)
