"""Types of tables: what Delta has for what is delivered, and what holds both of two."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.table_errors import InvalidColumn
from servers.ingestion.tables.column_types import checked_schema, common_type, delta_type

UTC = pa.timestamp("us", tz="UTC")
SIMPLE = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.binary(), pa.date32(),
    pa.timestamp("us"), UTC, pa.decimal128(10, 2), pa.decimal128(38, 0),
]  # fmt: skip
delta_types = st.recursive(
    st.sampled_from(SIMPLE),
    lambda inner: inner.map(lambda each: pa.list_(pa.field("element", each))) | inner.map(lambda each: pa.struct([("x", each)])),
    max_leaves=3,
)


@pytest.mark.parametrize(
    ("delivered", "stored"),
    [
        (pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.int64()),
        (pa.float16(), pa.float32()),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary(4), pa.binary()),
        (pa.date64(), pa.date32()),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("s", tz="Europe/Berlin"), UTC),
        (pa.decimal256(38, 3), pa.decimal128(38, 3)),
        (pa.list_(pa.uint8()), pa.list_(pa.int16())),
        (pa.map_(pa.string(), pa.uint16()), pa.map_(pa.string(), pa.int32())),
        (pa.struct([("x", pa.timestamp("ms"))]), pa.struct([("x", pa.timestamp("us"))])),
    ],
)
def test_a_delivered_type_has_a_delta_type(delivered: pa.DataType, stored: pa.DataType) -> None:
    assert delta_type(delivered, "a") == stored


@pytest.mark.parametrize("delivered", [pa.time64("us"), pa.duration("s"), pa.decimal256(50, 3), pa.list_(pa.time32("s"))])
def test_a_type_that_delta_lacks_is_refused_by_name(delivered: pa.DataType) -> None:
    with pytest.raises(InvalidColumn, match="'odd' has the type"):
        checked_schema(pa.schema([("odd", delivered)]))


@pytest.mark.parametrize("names", [["a", "a"], ["a", "A"], [""], ["x" * 256], ["a`b"], ["a\nb"]])
def test_names_that_readers_stumble_over_are_refused(names: list[str]) -> None:
    with pytest.raises(InvalidColumn):
        checked_schema(pa.schema([pa.field(name, pa.int64()) for name in names]))


@pytest.mark.parametrize(
    ("table", "delivered", "common"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int8(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int16(), pa.float32(), pa.float32()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
        (pa.decimal128(10, 2), pa.decimal128(9, 4), pa.decimal128(12, 4)),
        (pa.decimal128(10, 2), pa.int64(), pa.decimal128(21, 2)),
        (pa.decimal128(38, 10), pa.int64(), pa.decimal128(38, 10)),
        (pa.decimal128(38, 30), pa.int64(), None),
        (pa.date32(), pa.timestamp("ms"), pa.timestamp("us")),
        (pa.date32(), UTC, None),
        (pa.timestamp("us"), UTC, None),
        (pa.int64(), pa.string(), None),
        (pa.bool_(), pa.int8(), None),
        (pa.list_(pa.int32()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.struct([("x", pa.int8())]), pa.struct([("x", pa.int16())]), pa.struct([("x", pa.int16())])),
        (pa.struct([("x", pa.int8())]), pa.struct([("y", pa.int8())]), pa.struct([("x", pa.int8()), ("y", pa.int8())])),
        (pa.struct([("x", pa.int8())]), pa.struct([("x", pa.string())]), None),
        (pa.struct([("x", pa.int8())]), pa.struct([("X", pa.int8())]), None),
        (pa.struct([("x", pa.int8())]), pa.struct([("y", pa.null())]), pa.struct([("x", pa.int8())])),
    ],
)
def test_the_type_that_holds_both(table: pa.DataType, delivered: pa.DataType, common: pa.DataType | None) -> None:
    assert common_type(table, delivered) == common


@given(delta_types, delta_types)
def test_a_common_type_does_not_depend_on_who_came_first(left: pa.DataType, right: pa.DataType) -> None:
    assert common_type(left, right) == common_type(right, left)


@given(delta_types, delta_types)
def test_a_common_type_is_final(left: pa.DataType, right: pa.DataType) -> None:
    common = common_type(left, right)
    assert common is None or common_type(common, right) == common_type(common, left) == common


@given(delta_types)
def test_a_type_holds_itself_and_is_stored_as_it_is(each: pa.DataType) -> None:
    assert common_type(each, each) == each == delta_type(each, "a")
