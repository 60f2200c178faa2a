"""What is in quarantine: rows whose leaving out was committed, less those that were replayed or discarded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from servers.ingestion.data_process.quarantine.folder import Found, GoneFile, QuarantineFolder, RowsFile
from servers.ingestion.data_process.quarantine.rows import origins_of
from servers.ingestion.tables.writing import LastSequence

Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows of a file, in its order: those of one row group that are in quarantine."""

    parquet: pq.ParquetFile
    number: int
    places: Numbers
    """Of these rows within the row group."""
    rows: pa.RecordBatch
    """The columns that were asked for."""

    def filtered(self, mask: pa.BooleanArray) -> Group:
        """Keeps some of the rows."""
        return Group(self.parquet, self.number, self.places[mask.to_numpy(zero_copy_only=False)], self.rows.filter(mask))

    def whole(self, most: int | None = None) -> pa.RecordBatch:
        """Reads all columns of the rows.

        Args:
            most: Of so many, from the first; all by default.
        """
        read = self.parquet.read_row_group(self.number, use_threads=False).take(pa.array(self.places[:most])).combine_chunks()
        return read.to_batches()[0] if read.num_rows else pa.record_batch([pa.nulls(0, each.type) for each in read.schema], read.schema)


class Contents:
    """What is in quarantine at one moment. Numbers of rows that are gone are in memory, 8 bytes each, of the files that are looked into.

    Args:
        folder: Its files.
        last_sequence: The log of the dataset, read before: what others commit from then on does not count.
    """

    def __init__(self, folder: QuarantineFolder, last_sequence: LastSequence) -> None:
        self._folder = folder
        self._last_sequence = last_sequence
        self.found: Found = folder.found()
        self._is_committed: dict[str, bool] = {}
        self._gone_files: dict[tuple[str, str], list[GoneFile]] = defaultdict(list)
        for file in self.found.gone:
            self._gone_files[file.kind, file.of].append(file)
        self._gone: dict[tuple[str, str], Numbers] = {}

    def is_committed(self, attempt: str) -> bool:
        """Says whether the dataset's log has an attempt."""
        if attempt not in self._is_committed:
            self._is_committed[attempt] = self._last_sequence(attempt) is not None
        return self._is_committed[attempt]

    def files(self, candidates: Sequence[RowsFile] | None = None) -> Iterator[RowsFile]:
        """Gives the files that count.

        Args:
            candidates: Some of those that there are; all by default.
        """
        return (file for file in (self.found.rows if candidates is None else candidates) if self.is_committed(file.attempt))

    def groups(self, file: RowsFile, columns: Sequence[str] = (), *, after: int = 0) -> Iterator[Group]:
        """Gives the rows of a file that are in quarantine, one row group at a time. Groups without any are left out.

        Args:
            file: One of `files`.
            columns: Columns to read, beside `row` and `id`.
            after: Only rows with a higher number.
        """
        with self._folder.reading(file) as parquet:
            row_column = parquet.schema_arrow.get_field_index("row")
            for number in range(parquet.num_row_groups):
                statistics = parquet.metadata.row_group(number).column(row_column).statistics
                if statistics is not None and statistics.max <= after:
                    continue
                read = parquet.read_row_group(number, columns=["id", "row", *columns], use_threads=False).combine_chunks()
                rows = read.to_batches()[0]
                is_there = self._is_there(file, rows) & (rows.column("row").to_numpy() > after)
                if is_there.any():
                    yield Group(parquet, number, np.flatnonzero(is_there), rows.filter(pa.array(is_there)))

    def schema(self, file: RowsFile) -> pa.Schema:
        """Reads the schema of a file."""
        with self._folder.reading(file) as parquet:
            return parquet.schema_arrow

    def _is_there(self, file: RowsFile, rows: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        gone = _is_among(rows.column("row").to_numpy(), self._numbers("taken", file.attempt))
        if any(kind == "discarded" for kind, _ in self._gone_files):
            attempts, numbers = origins_of(rows.column("id"))
            for attempt in pc.unique(attempts).to_pylist():
                if (discarded := self._numbers("discarded", attempt)).size:
                    is_of_attempt = pc.equal(attempts, attempt).to_numpy(zero_copy_only=False)
                    gone |= is_of_attempt & _is_among(numbers, discarded)
        return ~gone

    def _numbers(self, kind: str, of: str) -> Numbers:
        if (kind, of) not in self._gone:
            parts = [np.empty(0, np.int64)]
            for file in self._gone_files.get((kind, of), ()):
                if kind == "discarded" or self.is_committed(file.by):
                    with self._folder.reading(file) as parquet:
                        parts.append(parquet.read(use_threads=False).column("row").to_numpy())
            self._gone[kind, of] = np.unique(np.concatenate(parts))
        return self._gone[kind, of]


def _is_among(numbers: Numbers, others: Numbers) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Says of each number whether it is one of others, which are in order: many more than the numbers, and asked for again and again."""
    if not others.size:
        return np.zeros(numbers.size, np.bool_)
    return np.equal(others[np.minimum(np.searchsorted(others, numbers), others.size - 1)], numbers)
