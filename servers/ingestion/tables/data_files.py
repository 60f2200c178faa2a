"""The data files of a version, one by one, and small notes that are kept of each.

Data files never change, so what was once found out about one stays true. Notes lie in the table's folder, in `_profiles`: readers and
`vacuum` pass over names that begin with `_`, and a table that is deleted takes them along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs
from deltalake import DeltaTable
from deltalake._internal import DeltaFileSystemHandler
from deltalake.fs import DeltaStorageHandler

from servers.ingestion.tables.delta_log import TableLocation, schema_of
from servers.ingestion.tables.reading import expiry

if TYPE_CHECKING:
    # It loads pandas where there is one, which takes longer than everything else together.
    import pyarrow.dataset

_NOTES = "_profiles"
_SUFFIX = ".sketch"
_READERS = 8
"""Notes that are read at a time: in an S3 each one is a request."""

_BATCH_ROWS = 65_536
_BATCH_BYTES = 32 << 20
_LEAST_ROWS = 1024


class DataFiles:
    """The data files of one version.

    Args:
        location: The table.
        version: The version; None = the latest.

    Raises:
        TableNotFound: There is no table.
        VersionNotFound: It has no such version.
    """

    def __init__(self, location: TableLocation, version: int | None = None) -> None:
        self._location = location
        self._table: DeltaTable = location.open(version)
        self.version: int = self._table.version()
        self.schema: pa.Schema = schema_of(self._table)

    @cached_property
    def paths(self) -> list[str]:
        """The files, as the log names them."""
        return list(self._fragments)

    def batches(self, path: str) -> Iterator[pa.RecordBatch]:
        """Reads a file, with the columns and types of the version.

        Raises:
            VersionExpired: A vacuum removed it.
        """
        with self._location.typed_errors(), expiry(self._location, self._table):
            fragment = self._fragments[path]
            from pyarrow.dataset import ParquetFragmentScanOptions

            # By default whole row groups are read ahead, several at a time: that takes 310 MiB instead of 100, and is no faster.
            yield from fragment.to_batches(
                schema=self._dataset.schema,
                batch_size=_batch_rows(fragment),
                batch_readahead=0,
                fragment_readahead=0,
                fragment_scan_options=ParquetFragmentScanOptions(pre_buffer=False),
                use_threads=False,
            )

    def noted(self, paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Gives the notes of files, of those that have one."""
        with self._location.typed_errors():
            there = _note_names(self._files)
            wanted = [path for path in paths if _note_name(path) in there]
            with ThreadPoolExecutor(_READERS) as pool:
                yield from zip(wanted, pool.map(self._note, wanted), strict=True)

    def note(self, path: str, data: bytes) -> None:
        """Keeps the note of a file. Whole or not at all; of two writers the last one wins."""
        with self._location.typed_errors():
            # pyarrow's way to write to deltalake's storage passes what deltalake refuses.
            storage = DeltaFileSystemHandler(self._location.uri, self._location.options)
            file = storage.open_output_stream(_note_name(path))
            file.write(data)
            file.close()  # type: ignore[attr-defined]  # its stub has left it out

    def is_still_there(self) -> bool:
        """Whether the table was not deleted meanwhile. Where it was, the notes that were kept since then are removed."""
        if self._location.open_if_exists() is not None:
            return True
        with self._location.typed_errors():
            for name in _note_names(self._files):
                self._files.delete_file(name)
        return False

    @cached_property
    def _files(self) -> pyarrow.fs.FileSystem:
        return _file_system(self._location)

    @cached_property
    def _dataset(self) -> pyarrow.dataset.Dataset:
        return self._table.to_pyarrow_dataset()

    @cached_property
    def _fragments(self) -> dict[str, pyarrow.dataset.ParquetFileFragment]:
        with self._location.typed_errors():
            return {fragment.path: fragment for fragment in self._dataset.get_fragments()}

    def _note(self, path: str) -> bytes:
        try:
            with self._files.open_input_stream(_note_name(path)) as file:
                data: bytes = file.read()
        except FileNotFoundError:
            # Removed since the names were listed.
            return b""
        return data


def remove_notes_of_gone_files(location: TableLocation) -> None:
    """Removes the notes of data files that are no longer there."""
    files = _file_system(location)
    with location.typed_errors():
        found = files.get_file_info(pyarrow.fs.FileSelector("", recursive=True, allow_not_found=True))
        there = {_note_name(each.path) for each in found if each.type == pyarrow.fs.FileType.File}
        for name in _note_names(files) - there:
            files.delete_file(name)


def _file_system(location: TableLocation) -> pyarrow.fs.FileSystem:
    return pyarrow.fs.PyFileSystem(DeltaStorageHandler(location.uri, location.options))


def _note_names(files: pyarrow.fs.FileSystem) -> set[str]:
    found = files.get_file_info(pyarrow.fs.FileSelector(_NOTES, allow_not_found=True))
    return {each.path for each in found if each.path.endswith(_SUFFIX)}


def _note_name(path: str) -> str:
    return f"{_NOTES}/{quote(path, safe='')}{_SUFFIX}"


def _batch_rows(fragment: pyarrow.dataset.ParquetFileFragment) -> int:
    """Returns how many rows of a file are about as much as may be in memory at a time."""
    metadata = fragment.metadata
    size_bytes = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
    # A value takes some bytes in memory even where it takes none in the file.
    row_bytes = max(size_bytes / max(metadata.num_rows, 1), 8 * metadata.num_columns)
    return max(_LEAST_ROWS, min(_BATCH_ROWS, int(_BATCH_BYTES / row_bytes)))
