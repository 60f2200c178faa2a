"""What every table promises, in a folder and in a real S3."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from demo.real_servers.s3 import S3Server
from servers.ingestion.table_errors import (
    InvalidColumn,
    InvalidKeys,
    RetentionTooShort,
    SchemaFrozen,
    StorageUnavailable,
    TableNotFound,
    ValueDoesNotFit,
    VersionExpired,
    VersionNotFound,
)
from servers.ingestion.tables import (
    ChangeKind,
    ContractMode,
    DatasetTable,
    Delivery,
    RejectedRow,
    RejectionReason,
    SchemaContract,
    Tables,
    WriteMode,
    s3_options,
    writing,
)
from servers.ingestion.tables.writing import TABLE_PROPERTIES
from tests.integration.ingestion.tables.deliveries import column, rows_of, send

REJECT = SchemaContract(types=ContractMode.DISCARD_ROW, columns=ContractMode.DISCARD_ROW)


class TestWriting:
    def test_a_delivery_of_many_batches_is_one_version(self, table: DatasetTable) -> None:
        send(table, {"a": [0]})
        rows = pa.table({"a": range(1, 1001)})
        written = table.write(iter(rows.to_batches(max_chunksize=10)), rows.schema)
        assert (written.version, written.rows_received, written.rows_written) == (2, 1000, 1000)
        assert column(table, "a") == sorted(range(1001), key=repr)

    def test_a_new_table_is_made_and_said_so(self, table: DatasetTable) -> None:
        assert not table.exists()
        assert [each.kind for each in table.plan(pa.schema([("a", pa.int64())]))] == [ChangeKind.TABLE_CREATED, ChangeKind.COLUMN_ADDED]
        assert not table.exists()
        written = send(table, {"a": [1]})
        assert table.exists()
        assert [each.kind for each in written.schema_changes] == [ChangeKind.TABLE_CREATED, ChangeKind.COLUMN_ADDED]

    def test_new_columns_are_added_and_missing_ones_null_in_one_commit(self, table: DatasetTable) -> None:
        send(table, {"a": [1], "b": ["x"]})
        written = send(table, {"c": [True], "a": [2]})
        assert written.version == 2
        assert [(each.kind, each.column) for each in written.schema_changes] == [(ChangeKind.COLUMN_ADDED, "c")]
        assert rows_of(table) == [{"a": 1, "b": "x", "c": None}, {"a": 2, "b": None, "c": True}]

    def test_a_fraction_widens_whole_numbers_and_the_past_keeps_its_type(self, table: DatasetTable) -> None:
        before = send(table, {"a": [1, 2]})
        written = send(table, {"a": [1.5]})
        assert column(table, "a") == [1.0, 1.5, 2.0]
        assert [(each.kind, each.to_type) for each in written.schema_changes] == [(ChangeKind.TYPE_WIDENED, "double")]
        assert table.snapshot(before.version).schema == pa.schema([("a", pa.int64())])
        assert column(table, "a", before.version) == [1, 2]

    def test_a_table_that_is_rewritten_keeps_its_properties(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})
        send(table, {"a": [1.5]})
        send(table, {"a": [1], "b": [1]}, mode=WriteMode.OVERWRITE)
        location = table._location
        properties = DeltaTable(location.uri, storage_options=location.options).metadata().configuration
        assert properties == TABLE_PROPERTIES

    def test_rows_of_the_table_are_not_widened_with_loss(self, table: DatasetTable) -> None:
        written = send(table, {"a": [2**53 + 1]})
        with pytest.raises(ValueDoesNotFit, match=r"9007199254740993.*already in the table"):
            send(table, {"a": [0.5]})
        assert table.snapshot().version == written.version

    def test_an_upsert_may_widen_and_add(self, table: DatasetTable) -> None:
        send(table, {"id": [1, 2], "n": [1, 2]})
        written = send(table, {"id": [2, 3], "n": [2.5, 3.5], "new": ["b", "c"]}, mode=WriteMode.UPSERT, keys=["id"])
        assert (written.rows_written, written.rows_updated) == (2, 1)
        assert rows_of(table) == [{"id": 1, "n": 1.0, "new": None}, {"id": 2, "n": 2.5, "new": "b"}, {"id": 3, "n": 3.5, "new": "c"}]

    def test_frozen_types_refuse_the_whole_delivery(self, table: DatasetTable) -> None:
        written = send(table, {"a": [1]})
        with pytest.raises(ValueDoesNotFit, match="row 2 "):
            send(table, {"a": [2.0, 1.5]}, contract=SchemaContract(types=ContractMode.FREEZE))
        assert table.snapshot().version == written.version

    def test_a_table_that_was_made_and_never_written_is_as_none(self, table: DatasetTable) -> None:
        with pytest.raises(RuntimeError, match="killed"), mock.patch.object(writing, "write_deltalake", side_effect=RuntimeError("killed")):
            send(table, {"a": [1]})
        with pytest.raises(SchemaFrozen):
            send(table, {"a": ["x"]}, contract=SchemaContract(tables=ContractMode.FREEZE))

        written = send(table, {"a": ["x"], "b": [1.5]})

        assert (written.rows_written, written.schema_changes[0].kind) == (1, ChangeKind.TABLE_CREATED)
        assert rows_of(table) == [{"a": "x", "b": 1.5}]

    def test_discarded_rows_come_back_with_number_column_and_value(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})
        rejected: list[RejectedRow] = []
        written = send(table, {"a": [2.0, 1.5, 3.0], "b": [None, None, "x"]}, contract=REJECT, on_rejected=rejected.append)
        assert rejected == [
            RejectedRow(1, "a", "1.5", RejectionReason.VALUE_DOES_NOT_FIT),
            RejectedRow(2, "b", "x", RejectionReason.COLUMN_UNKNOWN),
        ]
        assert (written.rows_received, written.rows_written, written.rows_rejected) == (3, 1, 2)
        assert rows_of(table) == [{"a": 1}, {"a": 2}]

    def test_discarded_values_are_null(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})
        contract = SchemaContract(types=ContractMode.DISCARD_VALUE, columns=ContractMode.DISCARD_VALUE)
        written = send(table, {"a": [1.5], "b": [1]}, contract=contract)
        assert (written.rows_written, written.rows_rejected) == (1, 0)
        assert rows_of(table) == [{"a": 1}, {"a": None}]

    @pytest.mark.parametrize("mode", [ContractMode.DISCARD_ROW, ContractMode.DISCARD_VALUE])
    def test_discarded_tables_reject_all_rows(self, table: DatasetTable, mode: ContractMode) -> None:
        rejected: list[RejectedRow] = []
        written = send(table, {"a": [1, 2]}, contract=SchemaContract(tables=mode), on_rejected=rejected.append)
        assert (written.version, written.rows_rejected, len(rejected)) == (None, 2, 2)
        assert not table.exists()

    def test_frozen_tables_are_not_made(self, table: DatasetTable) -> None:
        with pytest.raises(SchemaFrozen, match="freezes tables"):
            send(table, {"a": [1]}, contract=SchemaContract(tables=ContractMode.FREEZE))
        assert not table.exists()

    def test_overwrite_leaves_only_the_delivery_and_the_past(self, table: DatasetTable) -> None:
        send(table, {"a": [1], "b": ["x"]})
        written = send(table, {"a": [2.5]}, mode=WriteMode.OVERWRITE)
        assert written.version == 2
        assert rows_of(table) == [{"a": 2.5, "b": None}]
        assert rows_of(table, 1) == [{"a": 1, "b": "x"}]

    def test_the_last_row_of_a_key_wins_and_null_keys_are_rejected(self, table: DatasetTable) -> None:
        send(table, {"id": ["a"], "n": [0]})
        rejected: list[RejectedRow] = []
        delivered = {"id": ["a", None, "b", "a"], "n": [1, 2, 3, 4]}
        written = send(table, delivered, mode=WriteMode.UPSERT, keys=["id"], on_rejected=rejected.append)
        assert rejected == [RejectedRow(1, "id", None, RejectionReason.KEY_IS_NULL)]
        assert (written.rows_received, written.rows_written, written.rows_updated, written.rows_rejected) == (4, 2, 1, 1)
        assert rows_of(table) == [{"id": "a", "n": 4}, {"id": "b", "n": 3}]

    def test_odd_names_are_keys_as_well(self, table: DatasetTable) -> None:
        names = ["A b", 'q"x', "d.o", "Ünï", "select", "it's"]
        send(table, {name: [1, 2] for name in names})
        send(table, {name: [2, 3] for name in names}, mode=WriteMode.UPSERT, keys=names)
        assert len(rows_of(table)) == 3

    def test_keys_belong_to_upserts(self, table: DatasetTable) -> None:
        for options in ({"mode": WriteMode.UPSERT}, {"keys": ["a"]}, {"mode": WriteMode.UPSERT, "keys": ["a", "a"]}):
            with pytest.raises(InvalidKeys):
                send(table, {"a": [1]}, **options)

    def test_whoever_gets_the_rejected_rows_may_write_tables(self, table: DatasetTable, tables: Tables) -> None:
        send(table, {"a": [1]})
        quarantine = tables.table("project", "flights-quarantine")
        send(table, {"a": [1.5]}, contract=REJECT, on_rejected=lambda row: send(quarantine, {"value": [row.value]}) and None)
        assert rows_of(quarantine) == [{"value": "1.5"}]

    def test_a_source_or_a_callback_that_fails_writes_nothing(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})

        def broken(*_: Any) -> Any:
            yield pa.record_batch({"a": [2]})
            raise KeyError("source")

        with pytest.raises(KeyError):
            table.write(broken(), pa.schema([("a", pa.int64())]))

        def refuse(_row: RejectedRow) -> None:
            raise KeyError("callback")

        with pytest.raises(KeyError):
            send(table, {"a": [2.0, 1.5]}, contract=REJECT, on_rejected=refuse)
        assert rows_of(table) == [{"a": 1}]

    def test_all_types_come_back(self, table: DatasetTable) -> None:
        now = datetime(2026, 11, 27, 1, 2, 3, 4, tzinfo=UTC)
        rows = pa.table(
            {
                "small": pa.array([1, None], pa.int8()),
                "text": ["ä", None],
                "bytes": [b"\0\xff", None],
                "instant": pa.array([now, None], pa.timestamp("us", tz="UTC")),
                "clock": pa.array([now.replace(tzinfo=None), None], pa.timestamp("us")),
                "day": pa.array([now.date(), None], pa.date32()),
                "money": pa.array([None, None], pa.decimal128(10, 2)),
                "list": pa.array([[1, None], None], pa.list_(pa.int32())),
                "nested": pa.array([{"x": 1.5, "y": ["a"]}, None], pa.struct([("x", pa.float64()), ("y", pa.list_(pa.string()))])),
                "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            }
        )
        send(table, rows)
        send(table, rows)
        assert rows_of(table) == sorted(rows.to_pylist() * 2, key=repr)


class TestExactlyOnce:
    def test_a_delivery_sent_twice_is_there_once(self, table: DatasetTable) -> None:
        for mode, keys in ((WriteMode.APPEND, ()), (WriteMode.UPSERT, ("a",)), (WriteMode.OVERWRITE, ())):
            delivery = Delivery(f"producer-{mode.value}", 7)
            first = send(table, {"a": [1]}, mode=mode, keys=keys, delivery=delivery)
            again = send(table, {"a": [1]}, mode=mode, keys=keys, delivery=delivery)
            assert (first.was_delivered_before, again.was_delivered_before) == (False, True)
            assert (again.version, again.rows_written) == (first.version, 0)

    def test_an_empty_delivery_counts(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})
        empty = pa.table({"a": pa.array([], pa.int64())})
        assert not send(table, empty, delivery=Delivery("p", 0)).was_delivered_before
        assert send(table, empty, delivery=Delivery("p", 0)).was_delivered_before

    def test_it_is_remembered_beyond_checkpoints_and_rollbacks(self, table: DatasetTable) -> None:
        for sequence in range(25):
            send(table, {"a": [sequence]}, delivery=Delivery("p", sequence))
        table.rollback(3)
        assert send(table, {"a": [24]}, delivery=Delivery("p", 24)).was_delivered_before
        assert column(table, "a") == [0, 1, 2]

    def test_racing_first_deliveries_make_one_table_with_one_of_each(self, table: DatasetTable) -> None:
        barrier = threading.Barrier(4)

        def deliver(number: int) -> bool:
            barrier.wait()
            return send(table, {"a": [number % 2]}, delivery=Delivery(f"p{number % 2}", 1)).was_delivered_before

        with ThreadPoolExecutor(4) as pool:
            before = list(pool.map(deliver, range(4)))
        assert sorted(before) == [False, False, True, True]
        assert column(table, "a") == [0, 1]

    def test_concurrent_appends_all_land(self, table: DatasetTable) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: send(table, {"a": [number]}), range(40)))
        assert column(table, "a") == sorted(range(40), key=repr)

    def test_concurrent_changes_of_the_schema_lose_nothing(self, table: DatasetTable) -> None:
        send(table, {"a": [0]})

        def deliver(number: int) -> None:
            send(table, {"a": [number + 0.5 if number % 3 == 0 else number], f"c{number % 4}": [number]})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(deliver, range(1, 13)))
        rows = rows_of(table)
        assert sorted(row["a"] for row in rows) == [0, *(n + 0.5 if n % 3 == 0 else n for n in range(1, 13))]
        assert all(row["a"] == 0 or row[f"c{int(row['a']) % 4}"] == int(row["a"]) for row in rows)

    def test_concurrent_upserts_of_one_key_leave_one_row(self, table: DatasetTable) -> None:
        send(table, {"id": [0], "n": [0]})
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: send(table, {"id": [1, 2 + n], "n": [n, n]}, mode=WriteMode.UPSERT, keys=["id"]), range(8)))
        assert column(table, "id") == sorted(range(10), key=repr)

    def test_an_overwrite_among_appends_leaves_no_earlier_row(self, table: DatasetTable) -> None:
        send(table, {"a": [-1]})
        with ThreadPoolExecutor(4) as pool:
            appends = [pool.submit(send, table, {"a": [number]}) for number in range(12)]
            overwrite = pool.submit(send, table, {"a": [100]}, mode=WriteMode.OVERWRITE)
            for append in appends:
                append.result()
        version = overwrite.result().version
        assert column(table, "a", version) == [100]


class TestReading:
    def test_any_version_and_any_time(self, table: DatasetTable) -> None:
        earlier = datetime.now(UTC)
        first, second = send(table, {"a": [1, 2]}), send(table, {"a": [3], "b": ["x"]})
        then = table.snapshot(first.version)
        assert (then.version, then.row_count, then.file_count, then.schema) == (1, 2, 1, pa.schema([("a", pa.int64())]))
        now = table.snapshot()
        assert (now.version, now.row_count, now.file_count, now.small_file_count) == (second.version, 3, 2, 2)
        assert now.size_bytes > then.size_bytes > 0
        assert table.snapshot(at=then.time).version == first.version
        assert table.snapshot(at=now.time + timedelta(days=1)).version == second.version
        with pytest.raises(VersionNotFound, match="made later"):
            table.snapshot(at=earlier - timedelta(seconds=5))
        for unknown in (3, 99, -1):
            with pytest.raises(VersionNotFound):
                table.snapshot(unknown)

    def test_a_version_from_before_checkpoints_and_far_back_in_time(self, table: DatasetTable) -> None:
        times = [table.snapshot(send(table, {"a": [number]}).version).time for number in range(23)]
        assert table.snapshot(at=times[2]).version in {number + 1 for number, time in enumerate(times) if time == times[2]}
        assert column(table, "a", 3) == [0, 1, 2]

    def test_history_is_newest_first_and_comes_in_pages(self, table: DatasetTable) -> None:
        send(table, {"a": [1, 2]}, delivery=Delivery("p", 1))
        send(table, {"a": [2, 3]}, mode=WriteMode.UPSERT, keys=["a"], delivery=Delivery("p", 2))
        send(table, {"a": [4]}, mode=WriteMode.OVERWRITE)
        first, second = table.versions(limit=2), table.versions(limit=10, before=2)
        assert [(each.version, each.operation, each.mode, each.rows, each.delivery) for each in (*first, *second)] == [
            (3, "WRITE", "Overwrite", 1, None),
            (2, "MERGE", "", 2, Delivery("p", 2)),
            (1, "WRITE", "Append", 2, Delivery("p", 1)),
            (0, "CREATE TABLE", "", 0, None),
        ]
        assert table.versions(limit=5, before=0) == table.versions(limit=0) == []

    def test_pages_of_a_preview_are_the_whole(self, table: DatasetTable) -> None:
        for start in range(0, 50, 10):
            send(table, {"a": range(start, start + 10), "b": ["x"] * 10})
        pages = [table.preview(limit=7, offset=offset, columns=["a"]) for offset in range(0, 56, 7)]
        assert sorted(pa.concat_tables(pages)["a"].to_pylist()) == list(range(50))
        assert [page.num_rows for page in pages] == [7] * 7 + [1]
        assert table.preview(version=1, limit=100).to_pydict() == {"a": list(range(10)), "b": ["x"] * 10}
        assert table.preview(limit=5, columns=["b", "a"]).column_names == ["b", "a"]
        with pytest.raises(InvalidColumn):
            table.preview(limit=1, columns=["c"])

    def test_what_does_not_exist_is_not_found(self, table: DatasetTable) -> None:
        for read in (
            table.snapshot,
            table.compact,
            lambda: table.versions(limit=1),
            lambda: table.preview(limit=1),
            lambda: list(table.batches()),
            lambda: table.rollback(0),
            lambda: table.vacuum(timedelta(0)),
        ):
            with pytest.raises(TableNotFound, match="'flights'"):
                read()

    def test_plain_deltalake_reads_the_same_rows(self, table: DatasetTable) -> None:
        send(table, {"a": [1, 2]})
        send(table, {"a": [1.5]})
        send(table, {"a": [2.0, 3.0], "b": ["x", "y"]}, mode=WriteMode.UPSERT, keys=["b"])
        location = table._location
        plain = DeltaTable(location.uri, storage_options=location.options)
        assert sorted(plain.to_pyarrow_table().to_pylist(), key=repr) == rows_of(table)
        assert sorted(pa.table(plain.scan()).select(["a", "b"]).to_pylist(), key=repr) == rows_of(table)


def test_an_s3_that_does_not_answer_or_does_not_know_us_is_unavailable(s3: S3Server) -> None:
    for options in (s3_options("http://127.0.0.1:9", s3.credentials), s3_options(s3.endpoint, (s3.access_key, "wrong"))):
        table = Tables(f"s3://{s3.bucket}/tables", options).table("p", "d")
        with pytest.raises(StorageUnavailable, match="credentials"):
            table.exists()


class TestUpkeep:
    def test_a_rollback_is_a_new_version_with_old_rows_and_schema(self, table: DatasetTable) -> None:
        first = send(table, {"a": [1]})
        send(table, {"a": [1.5], "b": ["x"]})
        assert first.version is not None
        back = table.rollback(first.version)
        assert back == 4
        assert rows_of(table) == [{"a": 1}]
        assert rows_of(table, 3) == [{"a": 1.0, "b": None}, {"a": 1.5, "b": "x"}]
        assert table.rollback(back) == back
        with pytest.raises(VersionNotFound):
            table.rollback(back + 1)

    def test_compaction_joins_files_and_keeps_rows_and_past(self, table: DatasetTable) -> None:
        for number in range(12):
            send(table, {"a": [number]})
        done = table.compact()
        assert (done.files_before, done.files_after) == (12, 1)
        assert table.snapshot().file_count == 1
        assert column(table, "a") == sorted(range(12), key=repr)
        assert column(table, "a", 3) == [0, 1, 2]

    def test_compaction_beside_writers_loses_nothing(self, table: DatasetTable) -> None:
        send(table, {"id": [-1], "n": [0]})

        def deliver(number: int) -> None:
            if number % 5 == 0:
                table.compact()
            mode = WriteMode.UPSERT if number % 2 else WriteMode.APPEND
            send(table, {"id": [number], "n": [number]}, mode=mode, keys=["id"] if number % 2 else [])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(deliver, range(20)))
        assert column(table, "id") == sorted(range(-1, 20), key=repr)

    def test_a_vacuum_removes_what_no_recent_version_needs(self, table: DatasetTable) -> None:
        send(table, {"a": [1]})
        send(table, {"a": [2]}, mode=WriteMode.OVERWRITE)
        assert table.vacuum(timedelta(hours=1)) == 0
        assert table.vacuum(timedelta(0)) == 1
        assert rows_of(table) == [{"a": 2}]
        for read in (lambda: rows_of(table, 1), lambda: table.preview(version=1, limit=1), lambda: table.rollback(1)):
            with pytest.raises(VersionExpired, match="version 1"):
                read()

    def test_a_vacuum_has_a_lower_limit(self, tmp_path: Any) -> None:
        with pytest.raises(RetentionTooShort, match="86400"):
            Tables(tmp_path.as_uri()).table("p", "d").vacuum(timedelta(hours=23))

    def test_deleted_is_gone_and_may_come_again(self, table: DatasetTable, tables: Tables) -> None:
        neighbour = tables.table("project", "flights-2")
        for number in range(12):
            send(table, {"a": [number]}, delivery=Delivery("p", number))
        send(neighbour, {"a": [1]})
        table.delete()
        assert not table.exists()
        table.delete()
        assert rows_of(neighbour) == [{"a": 1}]
        assert send(table, {"b": ["new"]}, delivery=Delivery("p", 0)).version == 1
        assert rows_of(table) == [{"b": "new"}]
