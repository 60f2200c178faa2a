"""What changed between two versions of a dataset: the files that one of them has and the other has not.

Rows that are in files of both sides are the same rows written anew, so they cancel out when the files are compared. Files that were only
joined by a compaction need not even be read, as far as the log still says that: it marks what such a commit does as no change of data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from servers.runtime.tables.data_file import DataFile
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.delta_table import typed_errors
from servers.runtime.tables.errors import FullRecomputationNeeded, VersionExpired
from servers.runtime.tables.storage import TableStorage, table_path

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

_READERS = 16


@dataclass(frozen=True)
class Changes:
    """What changed.

    Args:
        old: The version before.
        new: The version after.
        added: Files whose rows came.
        removed: Files whose rows went; rows that are in both came and went, and are no change.
    """

    old: Dataset
    new: Dataset
    added: tuple[DataFile, ...]
    removed: tuple[DataFile, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no row changed. Where files were written anew, only their rows say that."""
        return not self.added and not self.removed

    def reader(self, files: Sequence[DataFile], schema: pa.Schema) -> pa.RecordBatchReader:
        """Reads the rows of changed files, a few batches in memory.

        Args:
            files: `added` or `removed`.
            schema: Columns that both versions have, with their types.

        Returns:
            A reader. That a file is missing it says as `FullRecomputationNeeded`.
        """
        import pyarrow as pa

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for file in files:
                    yield from file.batches(schema)
            except VersionExpired as error:
                raise _expired(self.new.uri, self.old.version) from error

        return pa.RecordBatchReader.from_batches(schema, batches())


def changes(uri: str, old_version: int, new_version: int, storage: TableStorage, *, table_id: str = "") -> Changes:
    """Says what changed between two versions of a dataset; reads its log, not its rows.

    Args:
        uri: Of its table.
        old_version: That was processed before.
        new_version: That is to be processed.
        storage: Of the S3.
        table_id: Of the table that was processed before (`Dataset.table_id`), if it is known: so a dataset that was deleted and made anew
            is not taken for the same.

    Raises:
        FullRecomputationNeeded: FAILED_PRECONDITION: it cannot be said any more, as the old version's files or log are gone, or the
            dataset is another one.
        DomainError: The new version cannot be opened; see `open_dataset`.
    """
    new = open_dataset(uri, new_version, storage)
    if table_id and new.table_id != table_id:
        raise FullRecomputationNeeded(f"the dataset at {uri} was deleted and made anew")
    try:
        old = open_dataset(uri, old_version, storage)
    except VersionExpired as error:
        raise _expired(uri, old_version) from error
    old_files, new_files = ({file.path: file for file in each.files()} for each in (old, new))
    by_versions = Changes(
        old,
        new,
        tuple(file for path, file in new_files.items() if path not in old_files),
        tuple(file for path, file in old_files.items() if path not in new_files),
    )
    # The log says more only of what was rewritten.
    found = _by_log(by_versions) if by_versions.removed and old_version < new_version else None
    if found is None or _size(found) >= _size(by_versions):
        found = by_versions
        if gone := _missing(uri, old_version, found.removed):
            raise FullRecomputationNeeded(f"{len(gone)} files of version {old_version} of the dataset at {uri} were vacuumed")
    return found


def _by_log(between: Changes) -> Changes | None:
    """The changes as the sum of all commits; None where the log has not all of them, or files that only it names are gone."""
    new = between.new
    counts: Counter[str] = Counter()
    known = {file.path: file for file in (*between.old.files(), *new.files())}
    with typed_errors(new.uri, new.version):
        entries = _entries(_file_system(new), range(between.old.version + 1, new.version + 1))
    if entries is None:
        return None
    for kind, action in (each for entry in entries for each in entry):
        # A column may have had another meaning or type in between.
        if kind == "metaData":
            return None
        if kind == "add":
            known.setdefault(action["path"], _named_file(new, action))
        if action["dataChange"]:
            counts[action["path"]] += 1 if kind == "add" else -1
    changed = {path: count for path, count in counts.items() if count}
    # After a rollback behind a compaction, a file may count twice.
    if any(path not in known or abs(count) > 1 for path, count in changed.items()):
        return None
    added, removed = (tuple(known[path] for path, count in changed.items() if count == sign) for sign in (1, -1))
    if _missing(new.uri, new.version, (*added, *removed)):
        return None
    return replace(between, added=added, removed=removed)


def _entries(files: FileSystem, versions: range) -> list[list[tuple[str, Mapping[str, Any]]]] | None:
    """The actions of commits that are about files and columns; None where an entry is gone."""

    def entry(version: int) -> list[tuple[str, Mapping[str, Any]]] | None:
        try:
            with files.open_input_stream(f"_delta_log/{version:020}.json") as stream:
                lines = stream.read().splitlines()
        except FileNotFoundError:
            return None
        actions = [item for line in lines if line.strip() for item in json.loads(line).items()]
        return [(kind, action) for kind, action in actions if kind in ("add", "remove", "metaData")]

    with ThreadPoolExecutor(_READERS, thread_name_prefix="log-reader") as readers:
        found = list(readers.map(entry, versions))
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def _named_file(dataset: Dataset, action: Mapping[str, Any]) -> DataFile:
    return DataFile(dataset.uri, dataset.version, action["path"], action["size"], dataset.storage.options())


def _missing(uri: str, version: int, files: Sequence[DataFile]) -> list[str]:
    from pyarrow.fs import FileType

    if not files:
        return []
    with typed_errors(uri, version):
        infos = _file_system(files[0]).get_file_info([file.path for file in files])
    return [info.path for info in infos if info.type != FileType.File]


def _file_system(of: Dataset | DataFile) -> FileSystem:
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    uri, options = (of.uri, of.storage.options()) if isinstance(of, Dataset) else (of.table_uri, dict(of.storage_options))
    return PyFileSystem(DeltaStorageHandler(table_path(uri), options))


def _size(found: Changes) -> int:
    return sum(file.size_bytes for file in (*found.added, *found.removed))


def _expired(uri: str, version: int) -> FullRecomputationNeeded:
    return FullRecomputationNeeded(f"version {version} of the dataset at {uri} cannot be read any more, its files or log were removed")
