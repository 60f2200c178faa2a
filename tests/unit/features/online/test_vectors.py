"""Vectors come back as they were written, and are never taken for others."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.features.online.arrow_columns import arrow_type, column_of, vectors_of_batch
from servers.features.online.columns import python_values
from servers.features.online.errors import InvalidFeatureSchema, InvalidFeatureValue
from servers.features.online.feature_types import Feature, VectorSchema, feature_type
from servers.features.online.recency import event_time_us, time_prefix, write_time_us
from servers.features.online.vectors import RowState, decode_vectors, encode_vectors

FLOATS_32 = st.floats(width=32)
INTEGERS = {f"{sign}int{bits}": (bits, sign) for bits in (8, 16, 32, 64) for sign in ("", "u")}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    **{
        name: st.integers(0 if sign else -(2 ** (bits - 1)), 2**bits - 1 if sign else 2 ** (bits - 1) - 1)
        for name, (bits, sign) in INTEGERS.items()
    },
    "float32": FLOATS_32,
    "float64": st.floats(),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "decimal(38, 9)": st.integers(-(10**38) + 1, 10**38 - 1).map(lambda number: Decimal(f"{number}e-9")),
    "decimal(3, 0)": st.integers(-999, 999).map(Decimal),
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
    "list<float32>": st.lists(FLOATS_32, max_size=4),
    "list<float64>": st.lists(st.floats(), max_size=4),
    "list<int64>": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    "list<string>": st.lists(st.text(max_size=4), max_size=4),
}


def batch_of(schema: VectorSchema, columns: list[list[Any]], times: list[int]) -> pa.RecordBatch:
    arrays = [pa.array(values, arrow_type(feature.type)) for feature, values in zip(schema.features, columns, strict=True)]
    names = [feature.name for feature in schema.features]
    return pa.record_batch([*arrays, pa.array(times, pa.timestamp("us", "UTC"))], names=[*names, "event_time"])


def bits_of(value: Any) -> Any:
    """A value so that NaN equals itself, and -0.0 is not 0.0."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    return [bits_of(element) for element in value] if isinstance(value, list) else value


@st.composite
def tables(draw: st.DrawFn) -> tuple[VectorSchema, list[list[Any]], list[int]]:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=12))
    rows = draw(st.integers(0, 5))
    columns = [draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)) for kind in kinds]
    times = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows))
    return VectorSchema.of((f"f{number}", kind) for number, kind in enumerate(kinds)), columns, times


@settings(max_examples=80)
@given(tables(), st.data())
def test_every_type_comes_back(table: tuple[VectorSchema, list[list[Any]], list[int]], data: st.DataObject) -> None:
    schema, columns, times = table
    vectors = vectors_of_batch(schema, batch_of(schema, columns, times), "event_time", np.array(times, np.int64)[::-1])
    order = data.draw(st.lists(st.integers(0, len(vectors)), max_size=8))
    decoded = decode_vectors(schema, [vectors[row] if row < len(vectors) else None for row in order])
    expected = [[values[row] if row < len(vectors) else None for row in order] for values in columns]
    assert [bits_of(python_values(column)) for column in decoded.columns.values()] == [bits_of(values) for values in expected]
    assert decoded.states.tolist() == [RowState.READ if row < len(vectors) else RowState.ABSENT for row in order]
    assert decoded.event_times_us.tolist() == [times[row] if row < len(vectors) else 0 for row in order]
    assert [(event_time_us(vector), write_time_us(vector)) for vector in vectors] == list(zip(times, times[::-1], strict=True))
    assert sorted(vectors, key=lambda vector: vector[:16]) == sorted(
        vectors, key=lambda vector: (event_time_us(vector), write_time_us(vector))
    )


@settings(max_examples=50)
@given(tables(), st.data())
def test_a_vector_that_was_cut_or_changed_in_its_lengths_is_foreign(
    table: tuple[VectorSchema, list[list[Any]], list[int]], data: st.DataObject
) -> None:
    schema, columns, times = table
    vectors = vectors_of_batch(schema, batch_of(schema, columns, times), "event_time", np.array(times, np.int64))
    for vector in vectors:
        cut = data.draw(st.integers(0, len(vector) - 1))
        decoded = decode_vectors(schema, [vector[:cut], vector + b"\0", vector, b"", bytes(len(vector))])
        assert decoded.states.tolist() == [RowState.FOREIGN, RowState.FOREIGN, RowState.READ, RowState.FOREIGN, RowState.FOREIGN]
        for column in decoded.columns.values():
            assert [python_values(column)[row] for row in (0, 1, 3, 4)] == [None] * 4


@settings(max_examples=50)
@given(tables(), st.binary(min_size=1, max_size=80), st.data())
def test_any_bytes_behind_the_fingerprint_are_read_or_foreign_and_never_an_error(
    table: tuple[VectorSchema, list[list[Any]], list[int]], noise: bytes, data: st.DataObject
) -> None:
    schema, columns, times = table
    for vector in vectors_of_batch(schema, batch_of(schema, columns, times), "event_time", np.array(times, np.int64)):
        at = data.draw(st.integers(32, len(vector)))
        decoded = decode_vectors(schema, [vector[:at] + noise + vector[at + len(noise) :], vector])
        assert decoded.states[0] in (RowState.READ, RowState.FOREIGN)
        assert len([python_values(column) for column in decoded.columns.values()]) == len(columns)
        alone = decode_vectors(schema, [vector]).columns.values()
        beside = decoded.columns.values()
        assert [bits_of(python_values(column)[1]) for column in beside] == [bits_of(python_values(column)[0]) for column in alone]


def test_texts_that_are_no_utf_8_are_foreign_also_where_they_are_together() -> None:
    schema = VectorSchema.of([("s", "string"), ("l", "list<string>")])
    batch = batch_of(schema, [["ü", "b"], [["ü", "c"], ["d"]]], [1, 2])
    vectors = vectors_of_batch(schema, batch, "event_time", np.array([1, 2]))
    broken = vectors[0].replace("ü".encode(), b"\xff\xfe", 1)
    assert decode_vectors(schema, [broken, *vectors]).states.tolist() == [RowState.FOREIGN, RowState.READ, RowState.READ]
    # Half of a character in each of two rows.
    head, tail = (vector_with(vectors[1], text) for text in (b"\xc3", b"\xbc"))
    assert decode_vectors(schema, [head, tail, vectors[1]]).states.tolist() == [RowState.FOREIGN, RowState.FOREIGN, RowState.READ]


def vector_with(vector: bytes, text: bytes) -> bytes:
    """A vector whose text `b` is another one of the same length."""
    assert vector.count(b"b") == 1
    return vector.replace(b"b", text)


def test_other_names_types_or_orders_are_other_versions() -> None:
    features = [("a", "int32"), ("b", "float32")]
    others = [
        [("a", "int32"), ("c", "float32")],
        [("a", "uint32"), ("b", "float32")],
        features[::-1],
        features[:1],
        [*features, ("c", "bool")],
    ]
    schemas = [VectorSchema.of(each) for each in (features, *others, [("a", "date"), ("b", "float32")])]
    assert len({schema.fingerprint for schema in schemas}) == len(schemas)
    batch = batch_of(schemas[0], [[1], [2.0]], [5])
    vectors = vectors_of_batch(schemas[0], batch, "event_time", np.array([6]))
    for schema in schemas[1:]:
        assert decode_vectors(schema, vectors).states.tolist() == [RowState.FOREIGN]
    assert decode_vectors(VectorSchema.of(features), vectors).states.tolist() == [RowState.READ]


def test_the_bytes_are_these_in_every_version() -> None:
    schema = VectorSchema.of([("s", "string"), ("a", "int16"), ("b", "float64"), ("c", "int16"), ("l", "list<string>")])
    assert schema.fingerprint.hex() == "e901507e4802a29b21d56e574e2e2743"
    batch = batch_of(schema, [["ü"], [1], [None], [-2], [["x", ""]]], [0])
    [vector] = vectors_of_batch(schema, batch, "event_time", np.array([-1]))
    times, values, ends, nulls = "8000000000000000" + "7fffffffffffffff", "0000000000000000" + "0100feff", "02000000" + "0f000000", "04"
    texts = "c3bc" + "02000000" + "01000000" + "00000000" + "78"
    assert vector.hex() == times + schema.fingerprint.hex() + values + ends + nulls + texts


def test_a_row_is_the_same_bytes_whatever_stands_under_its_nulls() -> None:
    schema = VectorSchema.of([("a", "int32"), ("s", "string"), ("l", "list<int64>")])
    mask = np.array([True, False])
    dirty = pa.record_batch(
        [
            pa.array(np.array([7, 8], np.int32), mask=mask),
            pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 3, 4], np.int32)), pa.py_buffer(b"abcd"), pa.py_buffer(b"\x02")),
            pa.ListArray.from_arrays(pa.array([0, 2, 3], pa.int32()), pa.array([1, None, 3]), mask=pa.array(mask)),
            pa.array([1, 1], pa.timestamp("us", "UTC")),
        ],
        names=["a", "s", "l", "event_time"],
    )
    clean = batch_of(schema, [[None, 8], [None, "d"], [None, [3]]], [1, 1])
    times = np.array([2, 2])
    assert vectors_of_batch(schema, dirty, "event_time", times) == vectors_of_batch(schema, clean, "event_time", times)


def test_slices_of_a_batch_give_the_vectors_of_their_rows() -> None:
    schema = VectorSchema.of((name.replace(",", ""), name) for name in VALUES)
    chosen = {
        "bool": [True, None, False],
        "date": [date(2026, 1, 1), None, date(1, 1, 1)],
        "timestamp": [None, datetime(2026, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)],
        "string": ["a", None, "ü" * 90],
        "bytes": [None, b"", b"\0\xff"],
        "list<string>": [["a", ""], None, []],
    }
    columns = [
        chosen.get(
            name, [[1, 2], None, []] if name.startswith("list") else [Decimal(1), None, Decimal(2)] if "dec" in name else [1, 2, None]
        )
        for name in VALUES
    ]
    batch = batch_of(schema, columns, [1, 2, 3])
    whole = vectors_of_batch(schema, batch, "event_time", np.array([7, 8, 9]))
    for start in range(4):
        assert vectors_of_batch(schema, batch.slice(start), "event_time", np.array([7, 8, 9])[start:]) == whole[start:]
    assert vectors_of_batch(schema, batch.slice(1, 1), "event_time", np.array([8])) == whole[1:2]


def test_what_is_too_old_is_not_read() -> None:
    schema = VectorSchema.of([("a", "int32"), ("s", "string")])
    vectors = vectors_of_batch(schema, batch_of(schema, [[1, 2, 3], ["a", "b", "c"]], [9, 10, -5]), "event_time", np.array([20, 20, 20]))
    decoded = decode_vectors(schema, vectors, oldest_event_time_us=10)
    assert decoded.states.tolist() == [RowState.TOO_OLD, RowState.READ, RowState.TOO_OLD]
    assert [python_values(column) for column in decoded.columns.values()] == [[None, 2, None], [None, "b", None]]
    assert decoded.columns["a"].values.tolist() == [0, 2, 0]
    assert decoded.event_times_us.tolist() == [9, 10, -5]
    assert decode_vectors(schema, vectors, oldest_event_time_us=-5).states.tolist() == [RowState.READ] * 3


@pytest.mark.parametrize(
    ("kind", "array", "words"),
    [
        ("int8", pa.array([128]), "`f` is int8, and a value is not"),
        ("uint8", pa.array([-1]), "`f` is uint8, and a value is not"),
        ("int64", pa.array([1.0]), "a column of double is not"),
        ("int64", pa.array(["1"]), "a column of string is not"),
        ("int64", pa.array([True]), "a column of bool is not"),
        ("bool", pa.array([1]), "a column of int64 is not"),
        ("float32", pa.array([1e39]), "too large"),
        ("list<float32>", pa.array([[1.0], [-1e39]]), "too large"),
        ("float64", pa.array([2**53 + 1]), "a value is not"),
        ("timestamp", pa.array([1], pa.timestamp("us")), "a column of timestamp"),
        ("timestamp", pa.array([1], pa.timestamp("ns", "UTC")), "would lose data"),
        ("date", pa.array([1], pa.timestamp("us", "UTC")), "a column of timestamp"),
        ("decimal(3, 1)", pa.array([Decimal("1.25")]), "data loss"),
        ("decimal(3, 1)", pa.array([Decimal("100")]), "a value is not"),
        ("string", pa.array([b"\xff"]), "a column of binary"),
        ("list<int64>", pa.array([[1, None]]), "has a null in it"),
        ("list<string>", pa.array(["a"]), "a column of string"),
    ],
)
def test_what_a_type_cannot_hold_is_refused_and_never_rounded(kind: str, array: pa.Array, words: str) -> None:
    with pytest.raises(InvalidFeatureValue, match=words):
        column_of(Feature("f", feature_type(kind)), array)


@pytest.mark.parametrize(
    ("kind", "array", "values"),
    [
        ("float64", pa.array([1, None]), [1.0, None]),
        ("int64", pa.array([1, None], pa.uint8()), [1, None]),
        ("timestamp", pa.array([1], pa.timestamp("s", "Asia/Tokyo")), [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]),
        ("string", pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        ("string", pa.nulls(2), [None, None]),
        ("list<string>", pa.nulls(2), [None, None]),
        ("list<float32>", pa.array([[], None, []]), [[], None, []]),
        ("list<float32>", pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), [[1.0, 2.0], None]),
        ("bytes", pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
        ("decimal(10, 2)", pa.array([Decimal("1.5"), None]), [Decimal("1.50"), None]),
    ],
)
def test_columns_that_hold_the_same_values_are_taken(kind: str, array: pa.Array, values: list[Any]) -> None:
    assert python_values(column_of(Feature("f", feature_type(kind)), array)) == values


def test_times_that_are_none_are_refused() -> None:
    schema = VectorSchema.of([("a", "int32")])
    for times, words in ((pa.array([None], pa.timestamp("us", "UTC")), "is null in 1 rows"), (pa.array([1]), "a column of int64")):
        with pytest.raises(InvalidFeatureValue, match=words):
            vectors_of_batch(schema, pa.record_batch({"a": pa.array([1]), "t": times}), "t", np.array([1]))
    with pytest.raises(InvalidFeatureValue, match="column `a` is missing"):
        vectors_of_batch(schema, pa.record_batch({"t": pa.array([1], pa.timestamp("us", "UTC"))}), "t", np.array([1]))
    with pytest.raises(InvalidFeatureValue, match="64 bits"):
        time_prefix(2**63)


def test_columns_that_are_not_the_schemas_are_refused() -> None:
    schema = VectorSchema.of([("a", "int32"), ("s", "string")])
    [a, s] = (column_of(Feature("x", feature_type(kind)), pa.array(values)) for kind, values in (("int32", [1]), ("string", ["a"])))
    for columns, rows in (([a], 1), ([s, a], 1), ([a, s], 2), ([a, s, a], 1)):
        with pytest.raises(InvalidFeatureValue, match="vectors of"):
            encode_vectors(schema, columns, np.arange(rows), np.arange(rows))


def test_a_vector_that_is_too_large_is_refused_by_its_row() -> None:
    schema = VectorSchema.of([("s", "string")])
    batch = batch_of(schema, [["a", "b" * 100]], [1, 2])
    with pytest.raises(InvalidFeatureValue, match="at most 120 bytes; the one of row 1 would have 137"):
        vectors_of_batch(schema, batch, "event_time", np.array([1, 2]), max_vector_bytes=120)


@pytest.mark.parametrize("features", [[], [("a", "int32"), ("a", "bool")], [("", "int32")]])
def test_schemas_without_names_are_refused(features: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFeatureSchema, match="each with a name of its own"):
        VectorSchema.of(features)


@pytest.mark.parametrize(
    "name", ["", "int", "int128", "decimal(39, 0)", "decimal(2, 3)", "decimal(0, 0)", "list<bool>", "list<list<int64>>", "INT8"]
)
def test_unknown_types_are_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(InvalidFeatureSchema, match=r"allowed are bool, int8.*decimal.*list<string>"):
        feature_type(name)
