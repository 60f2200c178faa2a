"""What columns can be is what the online store can really make of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from servers.features.definitions.column_types import can_be, can_be_key, is_moment, type_of_column
from servers.features.online import JoinKey, JoinKeyType, feature_type
from servers.features.online.arrow_columns import column_of, keys_of_batch
from servers.features.online.errors import InvalidEntityKey, InvalidFeatureValue
from servers.features.online.feature_types import Feature

NOW = dt.datetime(2026, 11, 27, 9, 30, tzinfo=dt.UTC)
COLUMNS: list[tuple[pa.DataType, str | None, Any]] = [
    (pa.bool_(), "bool", True),
    (pa.int8(), "int8", -128),
    (pa.int16(), "int16", -(2**15)),
    (pa.int32(), "int32", -(2**31)),
    (pa.int64(), "int64", -(2**63)),
    (pa.float32(), "float32", 1.5),
    (pa.float64(), "float64", 0.1),
    (pa.string(), "string", "Größe"),
    (pa.large_string(), "string", "x"),
    (pa.binary(), "bytes", b"\x00"),
    (pa.date32(), "date", dt.date(2026, 11, 27)),
    (pa.timestamp("us", "UTC"), "timestamp", NOW),
    (pa.decimal128(10, 2), "decimal(10, 2)", Decimal("99999999.99")),
    (pa.decimal128(38, 38), "decimal(38, 38)", Decimal("0.1")),
    (pa.list_(pa.field("element", pa.float32())), "list<float32>", [1.5]),
    (pa.list_(pa.float64()), "list<float64>", [0.1]),
    (pa.list_(pa.int32()), "list<int64>", [1]),
    (pa.list_(pa.string()), "list<string>", ["a"]),
    (pa.timestamp("us"), None, NOW.replace(tzinfo=None)),
    (pa.time64("us"), None, dt.time(9, 30)),
    (pa.struct([("a", pa.int64())]), None, {"a": 1}),
    (pa.list_(pa.list_(pa.int64())), None, [[1]]),
    (pa.list_(pa.timestamp("us", "UTC")), None, [NOW]),
]
DECLARED = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint64", "float32", "float64", "date", "timestamp", "string", "bytes",
    "decimal(10, 2)", "decimal(12, 4)", "decimal(12, 2)", "list<float32>", "list<float64>", "list<int64>", "list<string>",
]  # fmt: skip


@pytest.mark.parametrize(("arrow_type", "expected", "_value"), COLUMNS, ids=[str(each) for each, _, _ in COLUMNS])
def test_a_column_has_the_type_of_a_feature_or_none(arrow_type: pa.DataType, expected: str | None, _value: Any) -> None:
    assert type_of_column(str(arrow_type)) == expected


@pytest.mark.parametrize(("arrow_type", "name"), [
    (pa.uint8(), "int16"), (pa.uint64(), "int64"), (pa.float16(), "float32"), (pa.list_(pa.float32(), 3), "list<float32>"),
    (pa.dictionary(pa.int8(), pa.string()), "string"), (pa.decimal256(60, 2), None), (pa.null(), None),
])  # fmt: skip
def test_what_a_pipeline_gives_has_the_type_that_its_dataset_keeps(arrow_type: pa.DataType, name: str | None) -> None:
    assert type_of_column(str(arrow_type)) == name


@pytest.mark.parametrize("declared", DECLARED)
def test_what_a_column_can_be_is_never_refused_by_the_online_store(declared: str) -> None:
    feature = Feature("f", feature_type(declared))
    fitting = [pa.array([value, None], arrow_type) for arrow_type, _, value in COLUMNS if can_be(str(arrow_type), declared)]
    # No dataset keeps numbers without a sign, so only pushed views have such features.
    assert bool(fitting) == (not declared.startswith("uint"))
    for column in fitting:
        assert column_of(feature, column).is_null.tolist() == [False, True]


@pytest.mark.parametrize(("arrow_type", "declared", "value"), [
    (pa.int64(), "int32", 2**40), (pa.int64(), "uint64", -1), (pa.int64(), "float64", 2**60 + 1), (pa.float64(), "int64", 0.5),
    (pa.string(), "int64", "1"), (pa.decimal128(12, 4), "decimal(10, 2)", Decimal("1.2345")),
    (pa.timestamp("us"), "timestamp", NOW.replace(tzinfo=None)), (pa.timestamp("us", "UTC"), "date", NOW),
])  # fmt: skip
def test_what_loses_values_is_refused_before_the_store_would(arrow_type: pa.DataType, declared: str, value: Any) -> None:
    assert not can_be(str(arrow_type), declared)
    with pytest.raises(InvalidFeatureValue):
        column_of(Feature("f", feature_type(declared)), pa.array([value], arrow_type))


@pytest.mark.parametrize("kind", JoinKeyType)
def test_what_can_be_a_key_is_what_keys_are_made_of(kind: JoinKeyType) -> None:
    for arrow_type, _, value in COLUMNS:
        batch = pa.record_batch({"k": pa.array([value], arrow_type)})
        if can_be_key(str(arrow_type), kind):
            assert len(keys_of_batch([JoinKey("k", kind)], batch, ["k"])) == 1
        else:
            with pytest.raises(InvalidEntityKey):
                keys_of_batch([JoinKey("k", kind)], batch, ["k"])


def test_times_are_days_and_timestamps_with_a_zone_or_without() -> None:
    moments = [pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "Europe/Berlin")]
    assert all(is_moment(str(each)) for each in moments)
    assert not any(is_moment(str(each)) for each in (pa.string(), pa.int64(), pa.time64("us"), pa.null()))
