"""Schemas compared, and what a contract makes of the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from servers.ingestion.table_errors import InvalidColumn, InvalidKeys, SchemaFrozen, ValueDoesNotFit
from servers.ingestion.tables.contract import ChangeKind, ContractMode, SchemaChange, SchemaContract
from servers.ingestion.tables.judgement import Judgement, differences, judge
from servers.ingestion.tables.spool import spooled

TABLE = pa.schema([("id", pa.int64()), ("name", pa.string())])


def judged(
    columns: dict[str, Any], contract: SchemaContract | None = None, *, table: pa.Schema | None = TABLE, keys: tuple[str, ...] = ()
) -> Judgement:
    delivered = pa.table(columns)
    with spooled(iter(delivered.to_batches()), delivered.schema, None) as spool:
        return judge(table, spool, contract or SchemaContract(), keys)


def test_differences_name_every_column() -> None:
    found = differences(TABLE, pa.schema([("id", pa.float64()), ("new", pa.uint8()), ("unknown", pa.null())]))
    assert found == [
        SchemaChange(ChangeKind.TYPE_WIDENED, "id", "int64", "double", depends_on_values=True),
        SchemaChange(ChangeKind.COLUMN_MISSING, "name", "string"),
        SchemaChange(ChangeKind.COLUMN_ADDED, "new", to_type="int16"),
    ]


def test_differences_of_a_table_to_come() -> None:
    assert [each.kind for each in differences(None, TABLE)] == [ChangeKind.TABLE_CREATED, ChangeKind.COLUMN_ADDED, ChangeKind.COLUMN_ADDED]


def test_types_without_a_common_one_are_a_conflict() -> None:
    assert differences(pa.schema([("a", pa.int64())]), pa.schema([("a", pa.string())]))[0].kind is ChangeKind.TYPE_CONFLICT


def test_a_wider_type_whose_values_fit_changes_nothing() -> None:
    assert judged({"id": [1.0, 2.0], "name": ["a", "b"]}).changes == ()


def test_a_value_that_does_not_fit_widens_its_column() -> None:
    judgement = judged({"id": [1.0, 2.5]})
    assert judgement.widened == ("id",)
    assert judgement.conversion.schema.field("id").type == pa.float64()


def test_widening_stops_where_a_value_would_be_lost() -> None:
    table = pa.schema([("x", pa.float64())])
    with pytest.raises(ValueDoesNotFit, match="9007199254740993"):
        judged({"x": [1, 2**53 + 1]}, table=table)


def test_a_frozen_type_names_row_and_value() -> None:
    with pytest.raises(ValueDoesNotFit) as caught:
        judged({"id": [1.0, 2.5]}, SchemaContract(types=ContractMode.FREEZE))
    assert caught.value.metadata == {"column": "id", "row": "2", "value": "2.5", "type": "int64"}


def test_frozen_columns_refuse_new_and_missing_ones() -> None:
    contract = SchemaContract(columns=ContractMode.FREEZE)
    with pytest.raises(SchemaFrozen, match="'extra'"):
        judged({"id": [1], "name": ["a"], "extra": [1]}, contract)
    with pytest.raises(SchemaFrozen, match=r"lacks columns.*'name'"):
        judged({"id": [1]}, contract)


def test_discarded_columns_reject_rows_or_are_left_out() -> None:
    columns = {"id": [1], "name": ["a"], "extra": [1]}
    assert judged(columns, SchemaContract(columns=ContractMode.DISCARD_ROW)).conversion.unknown == (2,)
    left_out = judged(columns, SchemaContract(columns=ContractMode.DISCARD_VALUE)).conversion
    assert (left_out.unknown, left_out.schema) == ((), TABLE)


def test_a_column_that_differs_in_case_is_refused() -> None:
    with pytest.raises(InvalidColumn, match="is called 'id' in the table"):
        judged({"ID": [1]})


def test_a_new_table_has_room_for_large_unsigned_numbers() -> None:
    judgement = judged({"big": pa.array([1, 2**64 - 1], pa.uint64())}, table=None)
    assert judgement.conversion.schema.field("big").type == pa.decimal128(20, 0)


def test_nothing_is_no_table() -> None:
    with pytest.raises(InvalidColumn):
        judged({"a": pa.nulls(3)}, table=None)


@pytest.mark.parametrize("keys", [("nope",), ("weight",), ("name",)])
def test_keys_are_delivered_and_compare_exactly(keys: tuple[str, ...]) -> None:
    with pytest.raises(InvalidKeys):
        judged({"id": [1], "weight": [0.5]}, keys=keys)


def test_a_spool_keeps_rows_and_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = pa.table({"a": range(200_000), "b": ["x"] * 200_000})
    with spooled(iter(rows.to_batches()), rows.schema, tmp_path) as spool:
        assert pa.Table.from_batches(spool.batches()) == rows
        assert pa.Table.from_batches(spool.batches([1])) == rows.select(["b"])
        assert max(batch.num_rows for batch in spool.batches()) <= 65_536
    assert list(tmp_path.iterdir()) == []
