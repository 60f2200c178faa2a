"""A delivery becomes one commit of a table.

The delivery is first laid down on local disk. So a value in its last row can still refuse it, widen a column or reject its row before
anything is written, and an attempt that loses against another writer can be made again. Then, until a commit succeeds: read the log, stop
if the delivery is in it, judge, write on the same handle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from servers.ingestion.table_errors import DeliveryOutOfTurn, InvalidKeys, SchemaFrozen
from servers.ingestion.tables.column_fence import ColumnFence
from servers.ingestion.tables.contract import (
    ContractMode,
    Delivery,
    RejectedRow,
    RejectionReason,
    SchemaChange,
    SchemaContract,
    WriteMode,
    Written,
)
from servers.ingestion.tables.conversion import REMEDY, Conversion, Converted, misfit
from servers.ingestion.tables.delta_log import WRITER, TableLocation, additive, exclusive, is_vacant, preparing, schema_of
from servers.ingestion.tables.judgement import Judgement, judge
from servers.ingestion.tables.lossless import fit
from servers.ingestion.tables.matching_rows import matching_rows
from servers.ingestion.tables.newest_rows import newest_rows
from servers.ingestion.tables.reading import stored_batches
from servers.ingestion.tables.spool import Spool, spooled

OnRejected = Callable[[RejectedRow], None]
LastSequence = Callable[[str], int | None]
"""The highest sequence that a table has of a producer; None where it has none."""
OnJudged = Callable[[LastSequence, int], Sequence[Delivery]]
"""Takes what the table has, and how many rows are rejected; returns what the commit marks as delivered beside its delivery."""
Rows = np.ndarray[tuple[int], np.dtype[np.bool_]]
"""For each row of a delivery, whether it counts."""

TABLE_PROPERTIES = {
    # Opening reads the commits since the last checkpoint: with 100, deltalake's default, a commit takes three times as long.
    "delta.checkpointInterval": "10",
    # Versions are what lineage refers to; the entries are small. Files are removed by `vacuum` alone.
    "delta.logRetentionDuration": "interval 3650 days",
}


@dataclass(frozen=True, slots=True)
class Write:
    """What was asked for."""

    mode: WriteMode
    keys: tuple[str, ...]
    contract: SchemaContract
    delivery: Delivery | None
    on_judged: OnJudged = lambda _last_sequence, _rejected: ()
    deliveries: Sequence[Delivery] = ()
    fence: ColumnFence | None = None

    def __post_init__(self) -> None:
        if (self.mode is WriteMode.UPSERT) != bool(self.keys):
            raise InvalidKeys("an upsert needs keys, the columns that tell rows apart, and the other modes take none")
        if len(set(self.keys)) != len(self.keys):
            raise InvalidKeys("a key is named twice; name each column once")


def write_delivery(location: TableLocation, spool: Spool, write: Write, on_rejected: OnRejected) -> Written:
    """Writes a delivery; see `DatasetTable.write`."""
    return location.until_committed(_Writing(location, spool, write, on_rejected).attempt)


def rehearse_delivery(location: TableLocation, spool: Spool, write: Write, on_rejected: OnRejected) -> Written:
    """Says what a delivery would do; see `DatasetTable.rehearse`."""
    with location.typed_errors():
        return _Writing(location, spool, write, on_rejected).rehearse()


class _Writing:
    """One write, over all its attempts."""

    def __init__(self, location: TableLocation, spool: Spool, write: Write, on_rejected: OnRejected) -> None:
        self._location = location
        self._spool = spool
        self._write = write
        self._rejections = _Rejections(on_rejected)
        self._fences = [ColumnFence(location, None), *(() if write.fence is None else (write.fence,))]
        self._changes: list[SchemaChange] = []

    def attempt(self) -> Written:
        """Writes, or fails because of others who commit at the same time."""
        write = self._write
        table = self._location.open_if_exists()
        self._check_turn(table)
        schema = None if table is None or is_vacant(table) else schema_of(table)
        if schema is None and write.contract.tables is not ContractMode.EVOLVE:
            return self._without_table()
        if table is not None and self._is_delivered(table):
            return Written(table.version(), self._spool.row_count, 0, 0, 0, True, ())
        judgement = judge(schema, self._spool, write.contract, write.keys)
        if table is not None and schema is not None:
            self._check_columns(table, judgement)
        if table is None:
            # Delta rejects a delivery that races itself, but not where the race makes the table: so that is a commit of its own.
            _create(self._location, judgement.conversion.schema, write.delivery)
        elif judgement.widened and write.mode is not WriteMode.OVERWRITE:
            _widen(self._location, table, judgement.conversion.schema, write.delivery)
        else:
            return self._commit(table, judgement)
        self._note(judgement.changes)
        return self.attempt()

    def rehearse(self) -> Written:
        """Does what `attempt` does, up to its commits."""
        write = self._write
        table = self._location.open_if_exists()
        schema = None if table is None or is_vacant(table) else schema_of(table)
        if schema is None and write.contract.tables is not ContractMode.EVOLVE:
            return self._without_table()
        judgement = judge(schema, self._spool, write.contract, write.keys)
        if table is not None and judgement.widened and write.mode is not WriteMode.OVERWRITE:
            # Values of the table have to fit, too.
            for _ in widened_rows(table, pa.schema([judgement.conversion.schema.field(name) for name in judgement.widened])):
                pass
        conversion = judgement.conversion
        rejected, is_wanted = self._chosen(conversion)
        batches = _Rows(self._spool, conversion, is_wanted).batches()
        if write.mode is WriteMode.UPSERT and table is not None and schema is not None and not set(write.keys) & set(judgement.added):
            keys = pa.schema([conversion.schema.field(key) for key in write.keys])
            delivered = pa.Table.from_batches([batch.select(write.keys) for batch in batches], keys)
            updated, added = matching_rows(delivered, widened_rows(table, keys))
        else:
            updated, added = 0, sum(batch.num_rows for batch in batches)
        version = None if table is None else table.version()
        return Written(version, self._spool.row_count, updated + added, updated, rejected, False, judgement.changes)

    def _note(self, changes: Sequence[SchemaChange]) -> None:
        self._changes += [change for change in changes if change not in self._changes]

    def _check_turn(self, table: DeltaTable | None) -> None:
        delivery = self._write.delivery
        for each in (*(() if delivery is None else (delivery,)), *self._write.deliveries):
            if each.after is None:
                continue
            last = 0 if table is None else table.transaction_version(each.producer) or 0
            if last != each.after:
                raise DeliveryOutOfTurn(self._location.name, each.after, last)

    def _check_columns(self, table: DeltaTable, judgement: Judgement) -> None:
        written = [name for name in self._spool.schema.names if name in judgement.conversion.schema.names]
        # The own one for what is changed during the attempts alone: columns may be younger than what its caller saw.
        for fence in self._fences:
            fence.look(table)
            fence.check(table, written)

    def _is_delivered(self, table: DeltaTable) -> bool:
        delivery = self._write.delivery
        last = None if delivery is None else table.transaction_version(delivery.producer)
        return delivery is not None and last is not None and delivery.sequence <= last

    def _without_table(self) -> Written:
        if self._write.contract.tables is ContractMode.FREEZE:
            message = f"dataset {self._location.name!r} has no table and the contract freezes tables; choose evolve for the first write"
            raise SchemaFrozen(self._location.name, message)
        for row in range(self._spool.row_count):
            self._rejections.report(RejectedRow(row, "", None, RejectionReason.TABLE_UNKNOWN))
        return Written(None, self._spool.row_count, 0, 0, self._spool.row_count, False, ())

    def _commit(self, table: DeltaTable, judgement: Judgement) -> Written:
        write, conversion = self._write, judgement.conversion
        rejected, is_wanted = self._chosen(conversion)
        marks = (*write.deliveries, *write.on_judged(table.transaction_version, rejected))
        rows = _Rows(self._spool, conversion, is_wanted)
        reader = pa.RecordBatchReader.from_batches(conversion.schema, rows.batches())
        merged: _Merged | None = None
        # Whoever made it never wrote to it, and wanted another schema.
        is_replaced = judgement.is_new_table and schema_of(table) != conversion.schema
        # A merge of no rows commits nothing, so that nobody would know that they were delivered.
        has_rows = is_wanted is None or bool(is_wanted.any())
        # With a new column as key no row of the table has the key.
        if write.mode is WriteMode.UPSERT and has_rows and not set(write.keys) & set(judgement.added):
            merged = _merge(table, reader, write, marks, has_new_columns=bool(judgement.added))
        elif write.mode is WriteMode.OVERWRITE or is_replaced:
            write_deltalake(
                table,
                reader,
                mode="overwrite",
                schema_mode="overwrite" if judgement.changes else None,
                writer_properties=WRITER,
                commit_properties=exclusive(write.delivery, marks),
            )
        else:
            write_deltalake(
                table,
                reader,
                mode="append",
                schema_mode="merge" if judgement.added else None,
                writer_properties=WRITER,
                commit_properties=(exclusive if write.keys else additive)(write.delivery, marks),
            )
        self._note(judgement.changes)
        # Of a key that the table has several times, all rows are updated: so they may be more than were delivered.
        written, updated = (rows.written, 0) if merged is None else (merged.updated + merged.inserted, merged.updated)
        return Written(table.version(), self._spool.row_count, written, updated, rejected, False, tuple(self._changes))

    def _chosen(self, conversion: Conversion) -> tuple[int, Rows | None]:
        """Reports the rows rejected, and counts them; for an upsert also says which rows are the last of their keys.

        Not while the rows are written: deltalake pulls them in a thread of its runtime, where nobody may call deltalake, as those who get
        the rejected rows want to.
        """
        if not conversion.may_reject:
            return 0, None
        rejected = 0
        self._rejections.begin(conversion.schema)

        def reported() -> Iterator[Converted]:
            nonlocal rejected
            for converted in converted_batches(self._spool, conversion):
                rejected += len(converted.rejected)
                for row in converted.rejected:
                    self._rejections.report(row)
                yield converted

        if self._write.mode is WriteMode.UPSERT:
            is_newest = newest_rows(reported(), self._write.keys, self._spool.row_count)
            return rejected, is_newest
        for _ in reported():
            pass
        return rejected, None


class _Rejections:
    """Reports each rejected row once, however often a delivery is tried."""

    def __init__(self, on_rejected: OnRejected) -> None:
        self._on_rejected = on_rejected
        self._schema: pa.Schema | None = None
        self._last_row = -1

    def begin(self, schema: pa.Schema) -> None:
        """Starts an attempt. For another schema other rows are rejected, and all of them are reported."""
        if schema != self._schema:
            self._schema, self._last_row = schema, -1

    def report(self, row: RejectedRow) -> None:
        """Reports a row unless an earlier attempt did; rows come in their order."""
        if row.row > self._last_row:
            self._last_row = row.row
            self._on_rejected(row)


class _Rows:
    """The rows to write, counted on their way."""

    def __init__(self, spool: Spool, conversion: Conversion, is_wanted: Rows | None) -> None:
        self._spool = spool
        self._conversion = conversion
        self._is_wanted = is_wanted
        self.written = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields rows as the table has them."""
        for converted in converted_batches(self._spool, self._conversion):
            rows = converted.rows
            if self._is_wanted is not None:
                rows = rows.filter(pa.array(self._is_wanted[converted.row_numbers]))
            self.written += rows.num_rows
            if rows.num_rows:
                yield rows


def converted_batches(spool: Spool, conversion: Conversion) -> Iterator[Converted]:
    """Converts a delivery batch by batch."""
    first_row = 0
    for batch in spool.batches():
        yield conversion.apply(batch, first_row)
        first_row += batch.num_rows


def _create(location: TableLocation, schema: pa.Schema, delivery: Delivery | None) -> None:
    try:
        DeltaTable.create(
            location.uri,
            schema,
            configuration=TABLE_PROPERTIES,
            storage_options=location.options,
            commit_properties=preparing(delivery),
        )
    except DeltaError as error:
        if "already exists" not in str(error):
            raise
        raise CommitFailedError("others created the table") from error


def _widen(location: TableLocation, table: DeltaTable, schema: pa.Schema, delivery: Delivery | None) -> None:
    """Rewrites all rows in wider types, as one commit; the versions before it keep the narrower ones. Needs the rows' size on local disk.

    deltalake 1.6 does not write Delta's feature `typeWidening`, which would leave the files alone, and few readers know it.
    """
    wider = pa.schema([schema.field(field.name) for field in schema_of(table)])
    # Reading while writing would call deltalake from a thread of its runtime, which panics.
    with spooled(widened_rows(table, wider), wider, location.spool_folder) as spool:
        write_deltalake(
            table,
            pa.RecordBatchReader.from_batches(wider, spool.batches()),
            mode="overwrite",
            schema_mode="overwrite",
            writer_properties=WRITER,
            commit_properties=preparing(delivery),
        )


def widened_rows(table: DeltaTable, wider: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Reads all rows in wider types.

    Args:
        table: The table.
        wider: All of its columns, or some.

    Raises:
        ValueDoesNotFit: If a value fits the narrower type alone.
    """
    for batch in stored_batches(table):
        columns = []
        for field in wider:
            fitted = fit(values := batch.column(field.name), field.type)
            if fitted.misfits is not None:
                raise misfit(field, values, fitted.misfits, None, REMEDY)
            columns.append(fitted.values)
        yield pa.record_batch(columns, schema=wider)


class _Merged(NamedTuple):
    """Rows of the table that an upsert wrote."""

    updated: int
    inserted: int


def _merge(table: DeltaTable, rows: pa.RecordBatchReader, write: Write, marks: Sequence[Delivery], *, has_new_columns: bool) -> _Merged:
    """Updates and inserts."""
    quoted = ['"' + key.replace('"', '""') + '"' for key in write.keys]
    merge = table.merge(
        rows,
        predicate=" AND ".join(f"kept.{key} = delivered.{key}" for key in quoted),
        source_alias="delivered",
        target_alias="kept",
        merge_schema=has_new_columns,
        writer_properties=WRITER,
        # The delivery in memory, not the table: so only files that may have its keys, by their statistics, are read.
        streamed_exec=False,
        commit_properties=exclusive(write.delivery, marks),
    )
    metrics = merge.when_matched_update_all().when_not_matched_insert_all().execute()
    return _Merged(int(metrics["num_target_rows_updated"]), int(metrics["num_target_rows_inserted"]))
