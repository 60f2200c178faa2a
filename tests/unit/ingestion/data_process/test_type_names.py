"""Names of types are read back as the types they were written from, and nothing else is a type."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.data_process.type_names import parsed_type
from servers.ingestion.errors import InvalidReadOptions
from servers.ingestion.readers.plain_types import plain_type

SIMPLE = [pa.string(), pa.binary(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32()]
SIMPLE += [pa.timestamp("us"), pa.timestamp("us", "UTC")]
NAMES = st.text("abcXYZ_09 -é", min_size=1, max_size=8)


@st.composite
def decimals(draw: st.DrawFn) -> pa.DataType:
    precision = draw(st.integers(1, 38))
    return pa.decimal128(precision, draw(st.integers(0, precision)))


def nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    structs = st.lists(st.tuples(NAMES, inner), min_size=1, max_size=3, unique_by=lambda field: field[0]).map(pa.struct)
    return inner.map(pa.list_) | st.tuples(inner, inner).map(lambda pair: pa.map_(*pair)) | structs


TYPES = st.recursive(st.sampled_from(SIMPLE) | decimals(), nested, max_leaves=6)


def parsed(name: str) -> pa.DataType:
    return parsed_type(name, file="a.csv", column="c")


@given(TYPES)
def test_every_type_that_tables_hold_is_read_back_from_its_name(kind: pa.DataType) -> None:
    assert plain_type(kind) == kind
    assert parsed(str(kind)) == kind


@given(st.text("abcdefgilmnoprstuy0123456789<>(),: []=_", max_size=40))
def test_whatever_is_accepted_is_a_type_that_tables_hold(name: str) -> None:
    try:
        kind = parsed(name)
    except InvalidReadOptions:
        return
    assert plain_type(kind) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("float64", pa.float64()), ("float32", pa.float32()), ("date32", pa.date32()), ("list<element: int8>", pa.list_(pa.int8()))],
)
def test_usual_other_names_are_known(name: str, kind: pa.DataType) -> None:
    assert parsed(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "int",
            " int64",
            "INT64",
            "uint8",
            "float16",
            "large_string",
            "timestamp[ns]",
            "timestamp[us, tz=Europe/Berlin]",
            "date64[ms]",
        ),
        *("decimal128(39, 2)", "decimal128(0, 0)", "decimal128(5, 6)", "decimal128(5, -1)", "decimal128(٣, 0)", "list<double>"),
        *("list<item: double", "list<item: double, item: double>", "map<string>", "struct<>", "struct<a: int8, a: int8>", "struct<a:int8>"),
        *("list<item: double>>", "null", "list<item: " * 20 + "int8" + ">" * 20, "a" * 10_001),
    ],
)
def test_other_names_are_refused_with_those_that_are_allowed(name: str) -> None:
    with pytest.raises(InvalidReadOptions) as caught:
        parsed(name)
    assert caught.value.reason == "INVALID_READ_OPTIONS"
    assert "timestamp[us, tz=UTC]" in caught.value.message
    assert caught.value.metadata["column"] == "c"
