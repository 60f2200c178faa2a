"""What was asked for before columns were renamed or dropped does not bring them back, and lands in no other column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.table_errors import ColumnsChanged
from servers.ingestion.tables import ContractMode, DatasetTable, Delivery, SchemaContract
from tests.integration.ingestion.tables.deliveries import rows_of, send

SWAP = ColumnChanges({"a": "b", "b": "a"}, [])


def test_a_delivery_under_way_notices_a_rename_and_writes_nothing(table: DatasetTable) -> None:
    send(table, {"a": [1], "b": [2]})

    def overtaken(_last_sequence: Any, _rejected: int) -> Sequence[Delivery]:
        if "a" in table.snapshot().schema.names:
            table.change_columns(ColumnChanges({"a": "z"}, []))
        return ()

    with pytest.raises(ColumnsChanged) as refused:
        send(table, {"a": [3]}, on_judged=overtaken)
    assert "'a' was renamed to 'z'" in refused.value.message
    assert table.snapshot().schema.names == ["z", "b"]
    assert rows_of(table) == [{"z": 1, "b": 2}]
    # Whoever asks again wants it so.
    send(table, {"a": [3]})
    assert table.snapshot().schema.names == ["z", "b", "a"]


@pytest.mark.parametrize(
    ("changes", "delivered", "refused"),
    [
        (SWAP, {"a": [3]}, "'a' was renamed to 'b'"),
        (ColumnChanges({}, ["b"]), {"b": [3]}, "'b' was dropped"),
        (ColumnChanges({}, ["b"]), {"a": [3]}, ""),
        (ColumnChanges({"b": "c"}, []), {"a": [3], "new": [4]}, ""),
    ],
)
def test_only_columns_that_were_changed_since_are_refused(
    table: DatasetTable, changes: ColumnChanges, delivered: dict[str, list[int]], refused: str
) -> None:
    send(table, {"a": [1], "b": [2]})
    seen = table.snapshot().version
    for _ in range(3):
        send(table, {"a": [1], "b": [2]})
    table.change_columns(changes)
    send(table, {"later": [1]})
    fence, before = table.fence(seen), table.snapshot().version
    if not refused:
        for _ in range(2):
            send(table, delivered, fence=fence)
        return
    for _ in range(2):
        with pytest.raises(ColumnsChanged) as error:
            send(table, delivered, fence=fence)
        assert refused in error.value.message
    assert table.snapshot().version == before
    send(table, delivered, fence=table.fence(before))


def test_a_rollback_that_takes_columns_away_is_noticed(table: DatasetTable) -> None:
    send(table, {"a": [1]})
    first = table.snapshot().version
    send(table, {"a": [1], "b": [2]})
    fence = table.fence(table.snapshot().version)
    table.rollback(first)
    with pytest.raises(ColumnsChanged):
        send(table, {"b": [3]}, fence=fence)
    send(table, {"a": [3]}, fence=fence)


def test_a_contract_that_leaves_unknown_columns_out_is_kept_in_it(table: DatasetTable) -> None:
    send(table, {"a": [1], "b": [2]})
    fence = table.fence(table.snapshot().version)
    table.change_columns(ColumnChanges({}, ["b"]))
    discards = SchemaContract(columns=ContractMode.DISCARD_VALUE)
    send(table, {"a": [3], "b": [4]}, fence=fence, contract=discards)
    assert table.snapshot().schema == pa.schema([("a", pa.int64())])
    assert sorted(row["a"] for row in rows_of(table)) == [1, 3]
