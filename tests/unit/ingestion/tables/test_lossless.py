"""Casts lose nothing, whatever the values: against Python's own numbers."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.ingestion.tables.lossless import Fitted, fit, shown

INTEGERS = {pa.int8(): 8, pa.int16(): 16, pa.int32(): 32, pa.int64(): 64}
UNSIGNED = {pa.uint8(): 8, pa.uint16(): 16, pa.uint32(): 32, pa.uint64(): 64}
FLOATS = (pa.float32(), pa.float64())


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    near = [
        edge
        for power in (7, 8, 15, 16, 24, 31, 32, 53, 63, 64)
        for edge in (2**power - 1, 2**power, 2**power + 1, -(2**power), -(2**power) - 1)
    ]
    return st.integers(low, high) | st.sampled_from([edge for edge in near if low <= edge <= high])


numbers = st.one_of(
    *(st.tuples(st.just(each), st.lists(st.none() | integers(bits, signed=True))) for each, bits in INTEGERS.items()),
    *(st.tuples(st.just(each), st.lists(st.none() | integers(bits, signed=False))) for each, bits in UNSIGNED.items()),
    *(
        st.tuples(
            st.just(each),
            st.lists(
                st.none()
                | st.floats(width=32 if each == pa.float32() else 64)
                | st.integers(-(2**70), 2**70).map(float).map(as_single if each == pa.float32() else float)
            ),
        )
        for as_single in (lambda value: struct.unpack("f", struct.pack("f", value))[0],)
        for each in FLOATS
    ),
    st.tuples(st.just(pa.decimal128(12, 3)), st.lists(st.none() | st.decimals(-999_999_999, 999_999_999, places=3))),
)


def misfits_of(fitted: Fitted) -> list[bool]:
    return [False] * len(fitted.values) if fitted.misfits is None else list(fitted.misfits.to_pylist())


def fits_exactly(value: Any, target: pa.DataType) -> bool:
    """Says by exact arithmetic whether a type has the number."""
    if not math.isfinite(value):
        return target in FLOATS
    if target in INTEGERS:
        bits = INTEGERS[target]
        return bool(value == int(value) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1))
    if target == pa.float64():
        try:
            return Fraction(float(value)) == Fraction(value)
        except OverflowError:
            return False
    if target == pa.float32():
        try:
            return Fraction(struct.unpack("f", struct.pack("f", float(value)))[0]) == Fraction(value)
        except OverflowError:
            return False
    scaled = Fraction(value) * 10**target.scale
    return bool(scaled.denominator == 1 and abs(scaled) < 10**target.precision)


@settings(max_examples=500)
@given(numbers, st.sampled_from([*INTEGERS, *FLOATS, pa.decimal128(5, 0), pa.decimal128(20, 2), pa.decimal128(38, 10)]))
def test_a_number_is_kept_exactly_or_does_not_fit(column: tuple[pa.DataType, list[Any]], target: pa.DataType) -> None:
    source, values = column
    decimal_and_float = {pa.types.is_decimal(source), pa.types.is_decimal(target)} == {True, False} and (
        source in FLOATS or target in FLOATS
    )
    fitted = fit(pa.array(values, source), target)
    assert fitted.values.type == target
    for value, kept, is_misfit in zip(values, fitted.values.to_pylist(), misfits_of(fitted), strict=True):
        if value is None or is_misfit:
            assert kept is None
            assert value is None or decimal_and_float or not fits_exactly(value, target)
        elif decimal_and_float:
            # 0.1 and Decimal("0.1") are the same number to everybody but a binary machine: the way there and back tells.
            assert pa.array([kept], target).cast(source).to_pylist() == [value]
        else:
            assert fits_exactly(value, target)
            assert kept == value or (math.isnan(kept) and math.isnan(value))


@pytest.mark.parametrize(
    ("values", "source", "target", "kept"),
    [
        (["7", "-3", "x", "1.5", None], pa.string(), pa.int64(), [7, -3, None, None, None]),
        (["1.50", "n/a", "1e3", "0.1", "1234567890.123456789"], pa.string(), pa.float64(), [1.5, None, 1000.0, 0.1, None]),
        (["true", "yes"], pa.large_string(), pa.bool_(), [True, None]),
        (["1.25", "1.255"], pa.string(), pa.decimal128(5, 2), [Decimal("1.25"), None]),
        # The way back needs more digits than the column has.
        ([Decimal("0.000"), Decimal("7.001")], pa.decimal128(12, 3), pa.int32(), [0, None]),
        ([True], pa.bool_(), pa.int64(), [None]),
        ([1], pa.int64(), pa.bool_(), [None]),
        ([1, None], pa.int64(), pa.string(), ["1", None]),
        ([1, 256], pa.list_(pa.int64()), pa.list_(pa.int8()), None),
        ([None, None], pa.null(), pa.date32(), [None, None]),
    ],
)
def test_text_and_kinds(values: list[Any], source: pa.DataType, target: pa.DataType, kept: list[Any] | None) -> None:
    if kept is None:
        values, kept = [[1], [256], None], [[1], None, None]
    assert fit(pa.array(values, source), target).values.to_pylist() == kept


def test_a_timestamp_keeps_its_nanoseconds_or_does_not_fit() -> None:
    values = pa.array([1_000, 1_001], pa.timestamp("ns"))
    assert misfits_of(fit(values, pa.timestamp("us"))) == [False, True]


def test_a_date_is_a_midnight() -> None:
    values = pa.array([0, 1], pa.timestamp("us"))
    assert misfits_of(fit(values, pa.date32())) == [False, True]
    assert misfits_of(fit(values, pa.timestamp("us", tz="UTC"))) == [True, True]
    assert fit(pa.array([0], pa.date32()), pa.timestamp("us")).misfits is None


def test_a_time_zone_is_converted_and_the_instant_kept() -> None:
    values = pa.array([5_000_000], pa.timestamp("us", tz="Europe/Berlin"))
    fitted = fit(values, pa.timestamp("us", tz="UTC"))
    assert fitted.misfits is None
    assert fitted.values.cast(pa.int64()).to_pylist() == [5_000_000]


def test_dictionaries_become_their_values() -> None:
    assert fit(pa.array(["a", "b", "a"]).dictionary_encode(), pa.string()).values.to_pylist() == ["a", "b", "a"]


def test_structs_are_cast_field_by_field() -> None:
    values = pa.array([{"x": 1}, {"x": 300}], pa.struct([("x", pa.int64())]))
    fitted = fit(values, pa.struct([("x", pa.int8())]))
    assert fitted.values.to_pylist() == [{"x": 1}, None]
    assert misfits_of(fitted) == [False, True]


def test_an_object_lacks_fields_as_nulls_and_loses_none() -> None:
    target = pa.struct([("x", pa.int64()), ("y", pa.string())])
    fewer = pa.array([{"x": 1}, None, {"x": 2}], pa.struct([("x", pa.int64())]))
    assert fit(fewer, target).misfits is None
    assert fit(fewer, target).values.to_pylist() == [{"x": 1, "y": None}, None, {"x": 2, "y": None}]
    others = pa.array([{"z": 1, "x": 1}, {"z": None, "x": 2}], pa.struct([("z", pa.int64()), ("x", pa.int64())]))
    assert misfits_of(fit(others, target)) == [True, False]
    assert fit(others[1:], target).values.to_pylist() == [{"x": 2, "y": None}]


def test_objects_in_lists_lack_fields_as_nulls_and_lose_none() -> None:
    target = pa.list_(pa.struct([("x", pa.int64()), ("y", pa.string())]))
    values = pa.array([[{"x": "1"}], None, [], [{"x": "5"}, {"x": "q"}], [{"x": "7"}]], pa.list_(pa.struct([("x", pa.string())])))
    fitted = fit(values, target)
    assert misfits_of(fitted) == [False, False, False, True, False]
    assert fitted.values.to_pylist() == [[{"x": 1, "y": None}], None, [], None, [{"x": 7, "y": None}]]
    assert fit(values[2:3], target).values.to_pylist() == [[]]


def test_a_shown_value_is_short_text() -> None:
    assert shown(pa.array(["x" * 5000, None]), 0) == "x" * 1000
    assert shown(pa.array(["x", None]), 1) is None
    assert shown(pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")), 0) == "2023-11-14 22:13:20.123456789"


TEXTS = st.text(alphabet="0123456789+-.eExXaAfFnNiItTrRuUlLsSyYzZ: ()_", max_size=12) | st.sampled_from(
    [
        "0x1F",
        "-0x1f",
        "inf",
        "-Infinity",
        "nan(1)",
        "1e400",
        "2020-02-29",
        "2020-02-29T01:02Z",
        "2020-02-29 01:02:03.5+01:00",
        "TRUE",
        "-.5e-3",
    ]
)
READ_FROM_TEXT = (
    *(pa.int8(), pa.int64(), pa.float32(), pa.float64(), pa.decimal128(12, 3), pa.bool_(), pa.date32()),
    *(pa.timestamp("us"), pa.timestamp("us", "UTC")),
)


@given(st.lists(TEXTS, min_size=2, max_size=8), st.sampled_from(READ_FROM_TEXT))
def test_a_text_fits_beside_others_if_it_fits_alone(texts: list[str], target: pa.DataType) -> None:
    together = fit(pa.array([*texts, "no value of any type!"]), target).values[:-1]
    alone = pa.concat_arrays([fit(pa.array([text]), target).values for text in texts])
    assert together.is_valid() == alone.is_valid()
    assert str(together) == str(alone)
