"""Commits to a Delta table: opening, typed errors, and attempts until one succeeds."""

from __future__ import annotations

import errno
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from servers.ingestion.table_errors import StorageFull, StorageUnavailable, TableNotFound, VersionNotFound, WriteConflict
from servers.ingestion.tables.contract import Delivery

_Result = TypeVar("_Result")

_ATTEMPTS = 100
"""deltalake's default of 15 lost 21 of 400 commits of ten writers."""

_LONGEST_PAUSE_S = 0.5

WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=131_072, dictionary_page_size_limit=2**17)
"""A writer holds a row group in memory; deltalake's default has a million rows.

Of so few rows, even numbers that all differ fit the dictionary of 1 MiB that is the default: that takes 1.4 times as long as to write them
as they are, and a fifth more room.
"""

_UNANSWERED = ("Generic S3 error", "error sending request", "lacked the necessary privileges")
_PRODUCER, _SEQUENCE, _RENAMED = "mlmesh.producer", "mlmesh.sequence", "mlmesh.renamed_columns"

COLUMN_MARKS = (b'"metaData"', f'"{_RENAMED}"'.encode())
"""Of these, an entry of the log in which columns may have changed has one. Where columns of one type exchange their names, deltalake finds
the schemas equal and writes no metadata."""


@dataclass(frozen=True, slots=True)
class TableLocation:
    """Where a table is."""

    project: str
    name: str
    uri: str
    """Absolute path or S3 URL."""
    options: dict[str, str] = field(repr=False)
    """Of the storage; has credentials in it."""
    spool_folder: Path | None = None
    """For what has to wait on local disk; the system's folder for temporary files by default."""

    def open(self, version: int | None = None) -> DeltaTable:
        """Reads the log.

        Args:
            version: The latest by default.

        Raises:
            TableNotFound: If there is no table.
            VersionNotFound: If it has no such version.
            StorageUnavailable: If the storage does not answer.
        """
        with self.typed_errors():
            latest = DeltaTable(self.uri, storage_options=self.options)
            if version is None or version == latest.version():
                return latest
            if not 0 <= version < latest.version():
                raise VersionNotFound(self.name, str(version), latest.version())
            try:
                return DeltaTable(self.uri, version=version, storage_options=self.options)
            except DeltaError as error:
                # A checkpoint removes entries of the log that are older than the table's log retention.
                raise VersionNotFound(self.name, f"{version} (any more)", latest.version()) from error

    def open_if_exists(self) -> DeltaTable | None:
        """Reads the log; returns None where there is no table."""
        try:
            return self.open()
        except TableNotFound:
            return None

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Turns errors of the storage into errors of ours; conflicts pass as they are."""
        try:
            yield
        except TableNotFoundError as error:
            raise TableNotFound(self.project, self.name) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
                raise StorageFull from error
            raise StorageUnavailable(str(error).split("\n", 1)[0][:200]) from error
        except CommitFailedError:
            raise
        except DeltaError as error:
            if "No space left" in str(error):
                raise StorageFull from error
            if any(each in str(error) for each in _UNANSWERED):
                raise StorageUnavailable(str(error).split("\n", 1)[0][:200]) from error
            raise

    def until_committed(self, attempt: Callable[[], _Result]) -> _Result:
        """Repeats an attempt as long as it loses against other commits.

        Args:
            attempt: Reads the log anew, decides anew, commits at most once.

        Raises:
            WriteConflict: If it lost a hundred times.
        """
        for number in range(_ATTEMPTS):
            try:
                with self.typed_errors():
                    return attempt()
            except CommitFailedError:
                # Those who lost together must not try again together.
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE_S, 0.01 * 2 ** min(number, 10))))  # noqa: S311
        raise WriteConflict(self.name, _ATTEMPTS)


def additive(delivery: Delivery | None, marks: Sequence[Delivery] = ()) -> CommitProperties:
    """Properties of a commit that only adds rows: deltalake commits it after whatever others committed meanwhile.

    It still fails where the others changed the schema, or committed a delivery or mark of the same producer.
    """
    return _properties(delivery, marks, _ATTEMPTS)


def exclusive(
    delivery: Delivery | None = None, marks: Sequence[Delivery] = (), *, renamed: Mapping[str, str] | None = None
) -> CommitProperties:
    """Properties of a commit that is valid only for the version it was made from.

    With deltalake's own retries an overwrite leaves rows that others appended meanwhile, and a table is created over another one.

    Args:
        delivery: What the commit delivers.
        marks: What it marks as delivered beside that.
        renamed: Columns that the commit renames: new names by old names. The schemas alone do not say so.
    """
    return _properties(delivery, marks, 0, {_RENAMED: dict(renamed)} if renamed else {})


def preparing(delivery: Delivery | None) -> CommitProperties:
    """Properties of an exclusive commit that changes the table's schema for a delivery which is still to come."""
    return CommitProperties(max_commit_retries=0, custom_metadata=None if delivery is None else {_PRODUCER: delivery.producer})


def _properties(
    delivery: Delivery | None, marks: Sequence[Delivery], retries: int, noted: Mapping[str, Any] | None = None
) -> CommitProperties:
    named = {} if delivery is None else {_PRODUCER: delivery.producer, _SEQUENCE: str(delivery.sequence)}
    delivered = (*(() if delivery is None else (delivery,)), *marks)
    return CommitProperties(
        custom_metadata={**named, **(noted or {})} or None,
        max_commit_retries=retries,
        app_transactions=[Transaction(each.producer, each.sequence) for each in delivered] or None,
    )


def commit_info(location: TableLocation, version: int) -> dict[str, Any] | None:
    """Reads who did what in a commit, and when.

    `DeltaTable.history` of an older version lists the commits after it, under wrong numbers, so the entry of the log is read itself.

    Args:
        location: Of the table.
        version: Of the commit.

    Returns:
        Delta's commitInfo; None where there is no such version, or its entry is older than the table's log retention.
    """
    try:
        actions = [json.loads(line) for line in log_entry(table_files(location), version).splitlines()]
    except FileNotFoundError:
        return None
    return next((dict(action["commitInfo"]) for action in actions if "commitInfo" in action), None)


def log_entry(files: pyarrow.fs.FileSystem, version: int) -> bytes:
    """Reads the entry of a commit: Delta's actions, a line of JSON each.

    Args:
        files: Of the table, from `table_files`.
        version: Of the commit.

    Raises:
        FileNotFoundError: If there is no such version, or its entry is older than the table's log retention.
    """
    with files.open_input_stream(f"_delta_log/{version:020}.json") as file:
        return bytes(file.read())


def table_files(location: TableLocation) -> pyarrow.fs.FileSystem:
    """Returns the files of a table, by paths relative to it."""
    return pyarrow.fs.PyFileSystem(DeltaStorageHandler(location.uri, location.options))


def delivery_of(commit: Mapping[str, Any]) -> Delivery | None:
    """Reads from an entry of the history which delivery it was."""
    return Delivery(commit[_PRODUCER], int(commit[_SEQUENCE])) if _PRODUCER in commit and _SEQUENCE in commit else None


def producer_of(commit: Mapping[str, Any]) -> str:
    """Reads from an entry of the history whose delivery it was, or prepared; empty where it was none."""
    return str(commit.get(_PRODUCER, ""))


def renamed_by(commit: Mapping[str, Any]) -> dict[str, str]:
    """Reads from an entry of the history which columns it renamed: new names by old names."""
    return dict(commit.get(_RENAMED, {}))


def is_vacant(table: DeltaTable) -> bool:
    """Whether a table was made by a write that did not come to its rows, or has not yet."""
    return table.version() == 0 and not table.file_uris()


def schema_of(table: DeltaTable) -> pa.Schema:
    """Returns the table's schema as Arrow types, without metadata."""
    return plain_schema(table.schema())


def plain_schema(schema: Schema) -> pa.Schema:
    """Returns a schema as Arrow types, without metadata."""
    return pa.schema([pa.field(each.name, each.type) for each in pa.schema(schema.to_arrow())])
