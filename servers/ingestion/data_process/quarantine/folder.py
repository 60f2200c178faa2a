"""The files of a quarantine, and what their names say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake.fs import DeltaStorageHandler

from servers.ingestion.data_process.quarantine.errors import QuarantineChanged
from servers.ingestion.tables import upkeep
from servers.ingestion.tables.delta_log import TableLocation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class RowsFile:
    """Rows that one attempt at a commit left out: `rows/<microseconds>.<origin>.<attempt>.<generation>.parquet`."""

    quarantine_time: datetime
    origin: str
    """What left them out; see `origin`. May have dots."""
    attempt: str
    """Names the attempt; the dataset's log has it where the attempt has written its rows."""
    generation: int = 0
    """Grows where the file is written anew, without rows that are gone; the highest counts."""

    @property
    def path(self) -> str:
        """Where it is, below the quarantine."""
        time_us = (self.quarantine_time - _EPOCH) // timedelta(microseconds=1)
        return f"rows/{time_us:018}.{self.origin}.{self.attempt}.{self.generation}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class GoneFile:
    """Numbers of rows that are not in quarantine any more: `taken/<of>.<by>.parquet` or `discarded/<of>.<by>.parquet`."""

    kind: str
    """`taken`, by a replay: counts once the dataset's log has the replay's attempt. `discarded`: counts at once."""
    of: str
    """`taken`: the attempt in whose file the rows are. `discarded`: the attempt that left them out at first, as their ids have it."""
    by: str
    """Who took or discarded them."""
    written: datetime | None = field(default=None, compare=False)
    """When; None of one that was not listed."""

    @property
    def path(self) -> str:
        """Where it is, below the quarantine."""
        return f"{self.kind}/{self.of}.{self.by}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Found:
    """The files that there are."""

    rows: tuple[RowsFile, ...]
    """The highest generation of each."""
    replaced: tuple[RowsFile, ...]
    """The other generations."""
    gone: tuple[GoneFile, ...]


class QuarantineFolder:
    """Reads and writes files of one quarantine.

    Every method raises `StorageUnavailable` (UNAVAILABLE) where the storage does not answer.

    Args:
        location: From `Tables.quarantine`.
    """

    def __init__(self, location: TableLocation) -> None:
        self._location = location
        self.dataset = location.name
        self.spool_folder = location.spool_folder

    def found(self) -> Found:
        """Lists the files."""
        if self._is_absent():
            return Found((), (), ())
        with self._location.typed_errors():
            selector = pyarrow.fs.FileSelector("", recursive=True, allow_not_found=True)
            files = [each for each in self._files().get_file_info(selector) if each.type == pyarrow.fs.FileType.File]
        newest: dict[str, RowsFile] = {}
        replaced, gone = [], []
        for file in files:
            folder, _, name = file.path.removesuffix(_SUFFIX).partition("/")
            parts = name.split(".")
            if folder == "rows" and len(parts) >= 4:
                time = _EPOCH + timedelta(microseconds=int(parts[0]))
                rows = RowsFile(time, ".".join(parts[1:-2]), parts[-2], int(parts[-1]))
                older, newest[rows.attempt] = sorted((newest.get(rows.attempt, rows), rows), key=lambda each: each.generation)
                if older != newest[rows.attempt]:
                    replaced.append(older)
            elif folder in ("taken", "discarded") and len(parts) == 2:
                gone.append(GoneFile(folder, parts[0], parts[1], file.mtime))
        return Found(tuple(newest.values()), tuple(replaced), tuple(gone))

    @contextmanager
    def reading(self, file: RowsFile | GoneFile) -> Iterator[pq.ParquetFile]:
        """Opens a file.

        Raises:
            QuarantineChanged: ABORTED: somebody has removed it since it was listed.
        """
        try:
            with self._location.typed_errors(), self._files().open_input_file(file.path) as opened, pq.ParquetFile(opened) as parquet:
                yield parquet
        except FileNotFoundError as error:
            raise QuarantineChanged(self.dataset) from error

    @contextmanager
    def writing(self, file: RowsFile | GoneFile, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Opens a file to be written. It is there once the block is left."""
        if not self._location.uri.startswith("s3://"):
            Path(self._location.uri).mkdir(parents=True, exist_ok=True)
        with (
            self._location.typed_errors(),
            self._files().open_output_stream(file.path) as stream,
            pq.ParquetWriter(stream, schema, compression="zstd", compression_level=1) as writer,
        ):
            yield writer

    def remove(self, file: RowsFile | GoneFile) -> None:
        """Removes a file; one that is not there stays so."""
        try:
            with self._location.typed_errors():
                self._files().delete_file(file.path)
        except FileNotFoundError:
            return

    def delete(self) -> None:
        """Removes all files. May be repeated, also after it was interrupted."""
        upkeep.delete(self._location)

    def _is_absent(self) -> bool:
        return not self._location.uri.startswith("s3://") and not Path(self._location.uri).is_dir()

    def _files(self) -> pyarrow.fs.FileSystem:
        return pyarrow.fs.PyFileSystem(DeltaStorageHandler(self._location.uri, self._location.options))
