"""Schemas of tables: their history, changes of columns, and rehearsals, in a folder and in a real S3."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.data_process.schema_sentences import sentences
from servers.ingestion.table_errors import ColumnsChanged, ColumnTaken, InvalidColumn, TableNotRewritable, ValueDoesNotFit
from servers.ingestion.tables import ContractMode, DatasetTable, Delivery, RejectedRow, SchemaContract, Tables, TableSchema, WriteMode
from tests.integration.ingestion.tables.deliveries import rows_of, send

RENAME = ColumnChanges({"a": "z"}, [])


def history(table: DatasetTable) -> list[tuple[int, list[str], list[str]]]:
    """Versions, columns and changes, the oldest first."""
    found = reversed(table.schemas(limit=1000))
    return [(each.version, each.schema.names, sentences(each.changes)) for each in found]


def test_the_history_tells_every_schema_once_and_what_made_it(table: DatasetTable) -> None:
    send(table, {"a": [1], "b": ["x"]}, delivery=Delivery("one", 1))  # versions 0 and 1
    send(table, {"a": [2], "b": ["y"]})
    send(table, {"a": [3], "c": [1]})  # 3
    send(table, {"c": [1.5]}, delivery=Delivery("two", 1))  # 4 widens, 5 writes
    changed = table.change_columns(ColumnChanges({"a": "b", "b": "a"}, []), delivery=Delivery("three", 1))
    table.change_columns(ColumnChanges({}, ["c"]))  # 7
    table.rollback(3)  # 8
    table.rollback(7)  # 9
    send(table, {"a": ["w"]})

    assert changed.version == 6
    assert history(table) == [
        (0, ["a", "b"], ["the table was created with 2 columns"]),
        (3, ["a", "b", "c"], ["column 'c' was added (int64)"]),
        (4, ["a", "b", "c"], ["column 'c' was widened from int64 to double"]),
        (6, ["b", "a", "c"], ["column 'a' was renamed to 'b'", "column 'b' was renamed to 'a'"]),
        (7, ["b", "a"], ["column 'c' was dropped"]),
        # Two rollbacks: to before the change, and after it.
        (
            8,
            ["a", "b", "c"],
            ["column 'b' was changed from int64 to string", "column 'a' was changed from string to int64", "column 'c' was added (int64)"],
        ),
        (
            9,
            ["b", "a"],
            ["column 'c' was dropped", "column 'a' was changed from int64 to string", "column 'b' was changed from string to int64"],
        ),
    ]
    assert [each.producer for each in table.schemas(limit=9)] == ["", "", "", "three", "two", "", "one"]
    for each in table.schemas(limit=9):
        snapshot = table.snapshot(each.version)
        assert (snapshot.schema, snapshot.time) == (each.schema, each.time)


def test_columns_of_one_type_exchange_their_names_and_the_history_says_so(table: DatasetTable) -> None:
    send(table, {"a": [1], "b": [2]})
    table.change_columns(ColumnChanges({"a": "b", "b": "a"}, []))
    assert rows_of(table) == [{"a": 2, "b": 1}]
    assert [(version, changes) for version, _, changes in history(table)] == [
        (0, ["the table was created with 2 columns"]),
        (2, ["column 'a' was renamed to 'b'", "column 'b' was renamed to 'a'"]),
    ]


def test_the_history_is_paged_and_knows_a_schema_that_came_and_went_between_two_checkpoints(
    table: DatasetTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.ingestion.tables.schema_history._SLICE", 4)
    send(table, {"a": [1]})
    for number in range(11):
        send(table, {"a": [number]})
    table.change_columns(RENAME)  # 13
    table.rollback(12)
    for number in range(8):
        send(table, {"a": [number]})

    pages: list[TableSchema] = []
    before = None
    while page := table.schemas(limit=1, before=before):
        pages += page
        before = page[-1].version

    assert [(each.version, each.schema.names) for each in pages] == [(14, ["a"]), (13, ["z"]), (0, ["a"])]
    assert pages == table.schemas(limit=3)


def test_names_are_exchanged_and_earlier_versions_keep_theirs(table: DatasetTable) -> None:
    send(table, {"a": [1, 2], "b": ["x", None], "c": [0.5, 1.5]})
    send(table, {"a": [3]})
    before = table.snapshot()

    changed = table.change_columns(ColumnChanges({"a": "b", "b": "c"}, ["c"]))

    assert rows_of(table) == [{"b": 1, "c": "x"}, {"b": 2, "c": None}, {"b": 3, "c": None}]
    assert rows_of(table, before.version)[2] == {"a": 3, "b": None, "c": None}
    assert changed.version == before.version + 1
    # The statistics have the new names: an upsert finds its rows by them.
    send(table, {"b": [2, 9], "c": ["new", "y"]}, mode=WriteMode.UPSERT, keys=["b"])
    assert rows_of(table) == [{"b": 1, "c": "x"}, {"b": 2, "c": "new"}, {"b": 3, "c": None}, {"b": 9, "c": "y"}]


def test_what_was_delivered_stays_delivered_and_a_change_is_made_once(table: DatasetTable) -> None:
    send(table, {"a": [1]}, delivery=Delivery("p", 7))
    first = table.change_columns(RENAME, delivery=Delivery("change", 1))
    send(table, {"z": [2]}, delivery=Delivery("p", 8))

    again = table.change_columns(RENAME, delivery=Delivery("change", 1))

    assert (first.was_made_before, again.was_made_before) == (False, True)
    assert send(table, {"a": [1]}, delivery=Delivery("p", 7)).was_delivered_before
    assert rows_of(table) == [{"z": 1}, {"z": 2}]
    with pytest.raises(InvalidColumn, match="'a' is not in the table; it has 'z'"):
        table.change_columns(RENAME)
    send(table, {"y": [3]})
    with pytest.raises(ColumnTaken, match="the table has 'y'"):
        table.change_columns(ColumnChanges({"z": "Y"}, []))


def test_every_type_comes_through(table: DatasetTable) -> None:
    instant = datetime.datetime(2013, 1, 1, 12, 30, 15, 123456, tzinfo=datetime.UTC)
    rows = pa.table(
        {
            "int8": pa.array([1, None], pa.int8()),
            "int64": pa.array([2**62, -1], pa.int64()),
            "float": pa.array([0.5, float("nan")], pa.float32()),
            "text": pa.array(["Zürich 🛬", ""]),
            "bytes": pa.array([b"\x00\xff", None]),
            "bool": pa.array([True, None]),
            "date": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
            "instant": pa.array([instant, None], pa.timestamp("us", "UTC")),
            "wall time": pa.array([instant.replace(tzinfo=None), None], pa.timestamp("us")),
            "decimal": pa.array([Decimal("12345678901234567890.12"), None], pa.decimal128(38, 2)),
            "list": pa.array([[1, None], []], pa.list_(pa.int64())),
            "map": pa.array([[("k", 1.5)], None], pa.map_(pa.string(), pa.float64())),
            "struct": pa.array([{"x": 1, "y": ["z"]}, None], pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))])),
        }
    )
    send(table, rows)
    written = pa.Table.from_batches(list(table.batches()))

    table.change_columns(ColumnChanges({name: f"new {name}" for name in rows.schema.names}, []))

    found = pa.Table.from_batches(list(table.batches()))
    # As text, in which NaN is NaN.
    assert str(found.rename_columns(written.schema.names).to_pylist()) == str(written.to_pylist())
    assert [field.type for field in found.schema] == [field.type for field in written.schema]


def test_a_table_without_rows_changes_its_columns_too(table: DatasetTable) -> None:
    send(table, {"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})

    table.change_columns(ColumnChanges({"a": "z"}, ["b"]))

    assert table.snapshot().schema == pa.schema([("z", pa.int64())])
    send(table, {"z": [1]})
    assert rows_of(table) == [{"z": 1}]


def test_rows_that_ten_writers_append_meanwhile_are_all_there_under_the_right_name(table: DatasetTable) -> None:
    for start in range(3):
        send(table, {"a": list(range(start * 1000, start * 1000 + 1000)), "b": ["old"] * 1000})
    begun = threading.Barrier(11)

    def append(number: int) -> int | None:
        begun.wait()
        rows, delivery = {"a": [10_000 + number], "b": ["raced"]}, Delivery(f"writer-{number}", 1)
        try:
            return send(table, rows, delivery=delivery).version
        except ColumnsChanged:
            # It was overtaken; whoever sends it once more wants it so.
            return send(table, rows, delivery=delivery).version

    with ThreadPoolExecutor(11) as pool:
        appended = [pool.submit(append, number) for number in range(10)]
        begun.wait()
        changed = table.change_columns(RENAME)
        versions = [each.result() for each in appended]

    found = {row["z"] if row["z"] is not None else ("still a", row.get("a")) for row in rows_of(table)}
    # Who came later delivered a column that the table had no more, and so made it anew.
    expected = {number + 10_000 if (versions[number] or 0) < changed.version else ("still a", number + 10_000) for number in range(10)}
    assert found == set(range(3000)) | expected


def test_an_attempt_that_loses_is_repeated_for_what_came_meanwhile_alone(table: DatasetTable) -> None:
    send(table, {"a": list(range(5000))})
    rewritten: list[int] = []

    def on_rows(rows: int) -> None:
        rewritten.append(rows)
        if len(rewritten) <= 3:
            send(table, {"a": [-len(rewritten)]})

    table.change_columns(RENAME, on_rows=on_rows)

    assert rewritten == [5000, 1, 1, 1]
    assert sorted(row["z"] for row in rows_of(table)) == [*range(-3, 5000)]


def test_a_change_that_breaks_off_leaves_nothing_but_files_that_a_vacuum_removes(
    table: DatasetTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.ingestion.tables.rewriting._GROUP_BYTES", 1)
    for number in range(3):
        send(table, {"a": [number]})
    before, rewritten = table.snapshot(), 0

    def break_off(rows: int) -> None:
        nonlocal rewritten
        rewritten += rows
        if rewritten == 3:
            raise LookupError

    with pytest.raises(LookupError):
        table.change_columns(RENAME, on_rows=break_off)

    assert table.snapshot() == before
    assert table.vacuum(datetime.timedelta(0)) == 2
    assert rows_of(table) == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_rows_that_others_replaced_meanwhile_do_not_come_back(table: DatasetTable) -> None:
    send(table, {"a": [1, 2]})
    interruptions = iter(
        [
            lambda: send(table, {"a": [3]}, mode=WriteMode.OVERWRITE),
            lambda: send(table, {"a": [2.5]}),
            lambda: table.compact(),
            lambda: send(table, {"a": [2.5], "b": ["x"]}, mode=WriteMode.UPSERT, keys=["b"]),
        ]
    )

    def interrupt(_rows: int) -> None:
        if work := next(interruptions, None):
            work()

    table.change_columns(RENAME, on_rows=interrupt)

    assert next(interruptions, None) is None
    assert rows_of(table) == [{"z": 2.5, "b": "x"}, {"z": 2.5, "b": None}, {"z": 3.0, "b": None}]


@pytest.mark.parametrize("what", ["partitions", "column mapping"])
def test_a_table_of_another_program_is_not_harmed(tmp_path: Path, what: str) -> None:
    path = tmp_path / "p" / "d"
    if what == "partitions":
        write_deltalake(path, pa.table({"a": [1], "day": ["x"]}), partition_by=["day"])
    else:
        mapped = {"delta.columnMapping.mode": "name", "delta.minReaderVersion": "2", "delta.minWriterVersion": "5"}
        DeltaTable.create(path, pa.schema([("a", pa.int64())]), configuration=mapped)
        write_deltalake(path, pa.table({"a": [1]}), mode="append")
    table = Tables(tmp_path.as_uri()).table("p", "d")
    before = table.snapshot()

    with pytest.raises(TableNotRewritable, match=what):
        table.change_columns(RENAME)

    assert table.snapshot() == before


DELIVERIES: list[tuple[dict[str, list[Any]], dict[str, Any]]] = [
    ({"id": [3, 4], "v": [1, 2]}, {}),
    ({"id": [3], "v": [0.5], "new": ["x"]}, {}),
    ({"id": [1], "v": [9]}, {"mode": WriteMode.OVERWRITE}),
    ({"id": [1, 1, 2, 7, None], "v": [1, 2, 3, 4, 5]}, {"mode": WriteMode.UPSERT, "keys": ["id"]}),
    ({"id": [1, 8], "v": [0.5, 1.0]}, {"mode": WriteMode.UPSERT, "keys": ["id"]}),
    ({"id": [1], "part": ["x"]}, {"mode": WriteMode.UPSERT, "keys": ["id", "part"]}),
    ({"id": [3, 4, 5], "v": [1.0, 1.5, None]}, {"contract": SchemaContract(types=ContractMode.DISCARD_ROW)}),
    ({"id": [3, 4], "v": [1, 2], "new": [None, 1]}, {"contract": SchemaContract(columns=ContractMode.DISCARD_ROW)}),
    ({"id": [3, 4], "v": ["x", "y"]}, {"contract": SchemaContract(types=ContractMode.DISCARD_VALUE)}),
]


@pytest.mark.parametrize(("columns", "options"), DELIVERIES)
@pytest.mark.parametrize("is_there", [True, False], ids=["table", "no table"])
def test_a_rehearsal_says_what_the_write_then_does(
    table: DatasetTable, columns: dict[str, list[Any]], options: dict[str, Any], is_there: bool
) -> None:
    if is_there:
        # Of one key there are two rows.
        send(table, {"id": [1, 2, 2], "v": [10, 20, 21]})
    before = table.snapshot() if is_there else None
    rows = pa.table(columns)
    foreseen: list[RejectedRow] = []
    written: list[RejectedRow] = []

    rehearsed = table.rehearse(iter(rows.to_batches()), rows.schema, on_rejected=foreseen.append, **options)

    assert (table.snapshot() if is_there else None) == before
    assert table.exists() == is_there
    done = send(table, rows, on_rejected=written.append, **options)
    assert replace(rehearsed, version=None) == replace(done, version=None)
    assert foreseen == written


def test_a_rehearsal_fails_as_the_write_would(table: DatasetTable) -> None:
    send(table, {"a": [2**60 + 1]})
    rows = pa.table({"a": [0.5]})

    with pytest.raises(ValueDoesNotFit) as foreseen:
        table.rehearse(iter(rows.to_batches()), rows.schema)

    with pytest.raises(ValueDoesNotFit) as done:
        send(table, rows)
    assert foreseen.value.message == done.value.message


def test_an_upsert_of_many_keys_is_rehearsed_in_parts(table: DatasetTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.ingestion.tables.matching_rows._FOLD_ROWS", 100)
    for start in range(0, 1000, 250):
        send(table, {"id": list(range(start, start + 250)), "v": [0] * 250})
    rows = pa.table({"id": list(range(900, 1400)), "v": [1] * 500})

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches(max_chunksize=64)

    rehearsed = table.rehearse(batches(), rows.schema, mode=WriteMode.UPSERT, keys=["id"])

    assert (rehearsed.rows_written, rehearsed.rows_updated) == (500, 100)
