"""Lays rows that are left out down in quarantine, where they count as soon as the commit that leaves them out is made."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from servers.ingestion.data_process.quarantine.folder import QuarantineFolder, RowsFile
from servers.ingestion.data_process.quarantine.left_out import Cursor, LeftOutRows
from servers.ingestion.data_process.quarantine.origin import facts_of
from servers.ingestion.data_process.quarantine.rows import ABOUT, DATA, file_schema, ids_of
from servers.ingestion.tables import Delivery
from servers.ingestion.tables.writing import LastSequence

if TYPE_CHECKING:
    from servers.ingestion.data_process.gate import Gate

_GROUP_ROWS = 8192
_GROUP_BYTES = 8 << 20


class Numbered(NamedTuple):
    """Some rows as they were read."""

    rows: pa.RecordBatch
    ids: pa.Array | None
    """Those that they have in quarantine already; None where they come from elsewhere."""


class Taking(Protocol):
    """Rows that are taken out of quarantine by the same commit."""

    def check(self, last_sequence: LastSequence) -> None:
        """Raises where others took some of them meanwhile."""
        ...

    def stage(self, attempt: str) -> None:
        """Lays down which rows they are."""
        ...

    def mark(self) -> Delivery:
        """Returns what the commit marks so that no other one takes them, too."""
        ...


class Staging:
    """What a write leaves out, over all tries to commit it.

    Args:
        folder: The quarantine.
        origin: What leaves it out; see `origin`.
        schema: Of the rows that it reads.
        read_again: Reads them from the first.
        by_contract: Rows that the table rejects, numbered as they were delivered.
        gate: What stands before the table.
        taking: What is taken out of quarantine.
        place_of: Says where a row comes from, by its number from 0, where that number alone does not say it.
        clock: The time now.
    """

    def __init__(
        self,
        folder: QuarantineFolder,
        origin: str,
        schema: pa.Schema,
        read_again: Callable[[], Iterable[Numbered]],
        by_contract: LeftOutRows,
        gate: Gate | None = None,
        taking: Taking | None = None,
        place_of: Callable[[int], str] = lambda _row: "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._origin = origin
        self._schema = schema
        self._read_again = read_again
        self._by_contract = by_contract
        self._gate = gate
        self._taking = taking
        self._place_of = place_of
        self._clock = clock
        self._staged: tuple[int, int] | None = None
        self._attempt = ""
        self.count = 0

    def marks(self, last_sequence: LastSequence, rejected: int) -> Sequence[Delivery]:
        """Lays the rows down and returns what the commit has to mark: `on_judged` of `DatasetTable.write`.

        Args:
            last_sequence: What the table has.
            rejected: How many rows the table rejects; of those it told of, the last ones.

        Raises:
            QuarantineChanged: ABORTED: others took rows that are to be taken.
        """
        if self._taking is not None:
            self._taking.check(last_sequence)
        self.count = rejected + (0 if self._gate is None else self._gate.left_out_count)
        if self._taking is None and not self.count:
            return ()
        # A try that lost against another commit rejects the same rows again, unless the table tells of others.
        if self._staged != (self._by_contract.count, rejected):
            self._attempt = uuid.uuid4().hex
            if self.count:
                self._write(RowsFile(self._clock(), self._origin, self._attempt), rejected)
            if self._taking is not None:
                self._taking.stage(self._attempt)
            self._staged = (self._by_contract.count, rejected)
        mark = Delivery(self._attempt, 1)
        return (mark,) if self._taking is None else (mark, self._taking.mark())

    def _write(self, file: RowsFile, rejected: int) -> None:
        by_gate = Cursor(iter(()) if self._gate is None or self._gate.left_out is None else self._gate.left_out.batches())
        by_contract = Cursor(self._of_source(self._by_contract.batches(rejected)))
        schema = file_schema(self._schema)
        first_row = 0
        with self._folder.writing(file, schema) as writer:
            groups = _Groups(writer, schema)
            for rows, ids in self._read_again():
                end = first_row + rows.num_rows
                if left_out := [*by_gate.below(end), *by_contract.below(end)]:
                    about = pa.Table.from_batches(left_out).sort_by("row").combine_chunks().to_batches()[0]
                    for start in range(0, about.num_rows, _GROUP_ROWS):
                        groups.add(self._rows_of_file(file, schema, about[start : start + _GROUP_ROWS], rows, ids, first_row))
                first_row = end
            groups.flush()

    def _rows_of_file(
        self, file: RowsFile, schema: pa.Schema, about: pa.RecordBatch, rows: pa.RecordBatch, ids: pa.Array | None, first_row: int
    ) -> pa.RecordBatch:
        places = pc.subtract(about.column("row"), first_row)
        numbers = pc.add(about.column("row"), 1)
        taken = rows.take(places)
        values = {
            **{name: about.column(name) for name in ("column", "value", "reason")},
            "id": ids_of(file.attempt, numbers) if ids is None else ids.take(places),
            "ingestion_id": pa.repeat(facts_of(file.origin)["ingestion_id"], about.num_rows),
            "row": numbers,
            "quarantine_time": pa.repeat(pa.scalar(file.quarantine_time, ABOUT.field("quarantine_time").type), about.num_rows),
            "place": pa.array(map(self._place_of, about.column("row").to_pylist()), pa.string()),
            DATA: pa.StructArray.from_arrays(taken.columns, fields=list(schema.field(DATA).type)),
        }
        return pa.record_batch([values[name] for name in schema.names], schema=schema)

    def _of_source(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Numbers rows as the source has them, not as the gate lets them through."""
        for batch in batches:
            if self._gate is None:
                yield batch
            else:
                rows = self._gate.rows_of_source(batch.column("row").to_numpy())
                yield batch.set_column(0, batch.schema.field(0), pa.array(rows))


class _Groups:
    """Writes rows in groups of which each is small enough to be read for a single row."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._size_bytes = 0

    def add(self, rows: pa.RecordBatch) -> None:
        if self._rows + rows.num_rows > _GROUP_ROWS or self._size_bytes + rows.nbytes > _GROUP_BYTES:
            self.flush()
        self._waiting.append(rows)
        self._rows += rows.num_rows
        self._size_bytes += rows.nbytes

    def flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema), row_group_size=_GROUP_ROWS)
            self._waiting, self._rows, self._size_bytes = [], 0, 0
