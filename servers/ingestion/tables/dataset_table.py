"""The table of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import pyarrow as pa

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.tables import reading, schema_history, upkeep
from servers.ingestion.tables.column_fence import ColumnFence
from servers.ingestion.tables.contract import Delivery, RejectedRow, SchemaChange, SchemaContract, WriteMode, Written
from servers.ingestion.tables.data_files import DataFiles, remove_notes_of_gone_files
from servers.ingestion.tables.delta_log import TableLocation, schema_of
from servers.ingestion.tables.judgement import differences
from servers.ingestion.tables.reading import Snapshot, Standing, TableVersion
from servers.ingestion.tables.rewriting import Rewritten, change_columns, check_changes
from servers.ingestion.tables.schema_history import TableSchema
from servers.ingestion.tables.spool import spooled
from servers.ingestion.tables.upkeep import Compaction
from servers.ingestion.tables.writing import LastSequence, OnJudged, Write, rehearse_delivery, write_delivery


class DatasetTable:
    """A Delta table that takes only what it can keep without loss, each delivery once. Made by `Tables.table`; free of state.

    Every method raises `StorageUnavailable` (UNAVAILABLE) where the storage does not answer, and those that need a table
    `TableNotFound` (NOT_FOUND) where there is none.

    Args:
        location: Where it is.
        shortest_retention: Lower limit of what `vacuum` may be asked for.
    """

    def __init__(self, location: TableLocation, shortest_retention: timedelta) -> None:
        self._location = location
        self._shortest_retention = shortest_retention

    def exists(self) -> bool:
        """Says whether anything was written."""
        return self._location.open_if_exists() is not None

    def write(
        self,
        batches: Iterator[pa.RecordBatch],
        schema: pa.Schema,
        *,
        mode: WriteMode = WriteMode.APPEND,
        keys: Sequence[str] = (),
        contract: SchemaContract | None = None,
        delivery: Delivery | None = None,
        deliveries: Sequence[Delivery] = (),
        on_rejected: Callable[[RejectedRow], None] = lambda _row: None,
        on_judged: OnJudged = lambda _last_sequence, _rejected: (),
        fence: ColumnFence | None = None,
    ) -> Written:
        """Writes a delivery as one commit, or nothing of it.

        A new table, and a column that has to be widened, are a commit before that. Meanwhile the delivery is on local disk, uncompressed.
        For the memory each mode takes see `servers.ingestion.tables.writing`.

        Args:
            batches: Rows, each batch of `schema`. Pulled once.
            schema: Names and Arrow types of the delivery. Matching is by name.
            mode: UPSERT replaces the rows whose `keys` are equal, and adds the others; of equal keys in the delivery the last row wins.
                OVERWRITE keeps the table's columns.
            keys: Columns that tell rows apart, for UPSERT. A row with a null in one is rejected.
            contract: What the delivery may change; everything that is lossless by default.
            delivery: Makes the write happen once, however often it is called. Without, every call writes.
            deliveries: The same for rows of several producers that are one commit; each says what it comes `after`.
            on_rejected: Gets each rejected row in order, before the commit. If it raises, nothing is written. If another writer changes
                the schema meanwhile, the rows are judged and reported anew.
            on_judged: Called before each commit that is tried, with what the table has and the number of rows rejected: the last so many
                that were reported. What it returns is marked in the commit, so `last_sequences` has it where the rows are written, and
                nowhere else. If it raises, nothing is written. Not called where the delivery was written before.
            fence: The columns as they were when the delivery was asked for; by default as the first attempt finds them.

        Raises:
            InvalidColumn: INVALID_ARGUMENT: a name or type cannot be stored.
            InvalidKeys: INVALID_ARGUMENT: keys are missing, unknown, or floats.
            SchemaFrozen: FAILED_PRECONDITION: the contract forbids a change.
            ColumnsChanged: FAILED_PRECONDITION: a column was renamed or dropped since the delivery was asked for.
            ValueDoesNotFit: INVALID_ARGUMENT: a value would lose something.
            WriteConflict: ABORTED: others wrote during each of 100 attempts.
            DeliveryOutOfTurn: ABORTED: `after` of a delivery is not what was written last.
            StorageFull: RESOURCE_EXHAUSTED: no space is left.
        """
        write = Write(mode, tuple(keys), contract or SchemaContract(), delivery, on_judged, tuple(deliveries), fence)
        with spooled(batches, schema, self._location.spool_folder) as spool:
            return write_delivery(self._location, spool, write, on_rejected)

    def fence(self, seen_version: int | None) -> ColumnFence:
        """Returns the columns as somebody saw them, for `write`.

        Args:
            seen_version: The version that he saw; None = the one that the first write finds.
        """
        return ColumnFence(self._location, seen_version)

    def rehearse(
        self,
        batches: Iterator[pa.RecordBatch],
        schema: pa.Schema,
        *,
        mode: WriteMode = WriteMode.APPEND,
        keys: Sequence[str] = (),
        contract: SchemaContract | None = None,
        on_rejected: Callable[[RejectedRow], None] = lambda _row: None,
    ) -> Written:
        """Does what `write` does and raises what it raises, but commits nothing.

        The arguments are those of `write`. For an UPSERT the keys of the table are read, and the delivery's are in memory.

        Returns:
            What a write would do; its `version` is the latest one that there is.
        """
        write = Write(mode, tuple(keys), contract or SchemaContract(), None)
        with spooled(batches, schema, self._location.spool_folder) as spool:
            return rehearse_delivery(self._location, spool, write, on_rejected)

    def change_columns(
        self, changes: ColumnChanges, *, delivery: Delivery | None = None, on_rows: Callable[[int], None] = lambda _rows: None
    ) -> Rewritten:
        """Renames and drops columns, as one commit; earlier versions keep theirs. What others commit meanwhile is not lost.

        All rows are written anew, a few files at a time, which lie on local disk meanwhile.

        Args:
            changes: What is to become of columns.
            delivery: Makes it happen once, however often it is called.
            on_rows: Gets the number of rows that were written since the last call.

        Raises:
            InvalidColumn: INVALID_ARGUMENT: there is no such column.
            ColumnTaken: FAILED_PRECONDITION: another column has a new name.
            NoColumnLeft: FAILED_PRECONDITION: all columns would be dropped.
            TableNotRewritable: FAILED_PRECONDITION: another program gave the table what rewritten files would lose.
            WriteConflict: ABORTED: others wrote during each of 100 attempts.
            StorageFull: RESOURCE_EXHAUSTED: no space is left.
        """
        return change_columns(self._location, changes, delivery, on_rows)

    def check_changes(self, changes: ColumnChanges) -> None:
        """Raises what `change_columns` would raise for these columns; changes nothing."""
        check_changes(self._location, changes)

    def schemas(self, *, limit: int, before: int | None = None) -> list[TableSchema]:
        """Lists the schemas that the table has had, newest first. Reads the whole log where there are fewer than wanted.

        Args:
            limit: At most so many.
            before: Only those that versions below this one began, for the next page.
        """
        return schema_history.schemas(self._location, limit, before)

    def last_sequences(self) -> LastSequence:
        """Says what was delivered until now: returns a function from a producer to its highest sequence, or None."""
        table = self._location.open_if_exists()
        return (lambda _producer: None) if table is None else table.transaction_version

    def plan(self, schema: pa.Schema) -> list[SchemaChange]:
        """Says what a write of this schema would change; writes nothing.

        Args:
            schema: Of a delivery.

        Raises:
            InvalidColumn: INVALID_ARGUMENT: a name or type cannot be stored.
        """
        table = self._location.open_if_exists()
        return differences(None if table is None else schema_of(table), schema)

    def standing(self, producer: str) -> Standing:
        """Says what a producer wrote last, and what the next write of it meets.

        Args:
            producer: As in `Delivery`.
        """
        return reading.standing(self._location, producer)

    def snapshot(self, version: int | None = None, at: datetime | None = None) -> Snapshot:
        """Describes a version of the table.

        Args:
            version: The latest by default.
            at: The last version committed at or before this time (with a time zone), instead of `version`.

        Raises:
            VersionNotFound: NOT_FOUND: there is no such version.
        """
        return reading.snapshot(self._location, version, at)

    def versions(self, *, limit: int, before: int | None = None) -> list[TableVersion]:
        """Lists commits, newest first.

        Args:
            limit: At most so many.
            before: Only versions below this one, for the next page.
        """
        return reading.versions(self._location, limit, before)

    def delivered(self, producer: str) -> TableVersion | None:
        """Finds the commit that a producer's last delivery became; None where nothing of it was written. Reads the log from its end.

        Args:
            producer: As in `Delivery`.
        """
        return reading.delivered(self._location, producer)

    def preview(self, *, version: int | None = None, limit: int, offset: int = 0, columns: Sequence[str] = ()) -> pa.Table:
        """Reads some rows. Their order is that of the files, the same at each call for a version.

        Args:
            version: The latest by default.
            limit: Rows to return, at most.
            offset: Rows to pass over; whole files are passed over without reading them.
            columns: All by default.

        Raises:
            InvalidColumn: INVALID_ARGUMENT: there is no such column.
            VersionNotFound: NOT_FOUND: there is no such version.
            VersionExpired: FAILED_PRECONDITION: a vacuum removed its files.
        """
        return reading.preview(self._location, version, limit, offset, columns)

    def batches(self, version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Reads all rows, in batches of at most 65,536; errors come with the first batch.

        Args:
            version: The latest by default.

        Raises:
            VersionNotFound: NOT_FOUND: there is no such version.
            VersionExpired: FAILED_PRECONDITION: a vacuum removed its files.
        """
        return reading.batches(self._location, version)

    def data_files(self, version: int | None = None) -> DataFiles:
        """Returns the data files of a version.

        Args:
            version: The latest by default.

        Raises:
            VersionNotFound: NOT_FOUND: there is no such version.
        """
        return DataFiles(self._location, version)

    def rollback(self, version: int) -> int:
        """Makes a new version with rows and schema of an old one. Deliveries since then count as delivered and do not come back.

        Args:
            version: To go back to.

        Returns:
            The new version; `version` itself where it is the latest.

        Raises:
            VersionNotFound: NOT_FOUND: there is no such version.
            VersionExpired: FAILED_PRECONDITION: a vacuum removed its files.
            WriteConflict: ABORTED: others wrote during each of 100 attempts.
        """
        return upkeep.rollback(self._location, version)

    def compact(self) -> Compaction:
        """Joins small files into files of about 100 MB. The rows stay the same, and earlier versions readable.

        Raises:
            WriteConflict: ABORTED: others changed the same files during each of 100 attempts.
        """
        return upkeep.compact(self._location)

    def vacuum(self, retention: timedelta) -> int:
        """Removes files that no version younger than `retention` needs, and what crashed writers left.

        Args:
            retention: Rounded up to whole hours. Versions replaced longer ago cannot be read any more.

        Returns:
            Files removed.

        Raises:
            RetentionTooShort: INVALID_ARGUMENT: it is below the limit that protects running reads and writes.
        """
        removed = upkeep.vacuum(self._location, retention, self._shortest_retention)
        remove_notes_of_gone_files(self._location)
        return removed

    def delete(self) -> None:
        """Deletes the table with its history. Nobody may be writing to it. May be repeated, also after it was interrupted."""
        upkeep.delete(self._location)
