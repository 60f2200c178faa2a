"""Rows rejected and values left out, against the same decision taken row by row."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.tables.contract import ContractMode, RejectionReason
from servers.ingestion.tables.conversion import Conversion
from servers.ingestion.tables.newest_rows import newest_rows

SCHEMA = pa.schema([("id", pa.int8()), ("missing", pa.string()), ("n", pa.int8())])
rows = st.lists(st.tuples(st.none() | st.integers(0, 300), st.none() | st.integers(0, 300), st.none() | st.booleans()), max_size=30)


def conversion(types: ContractMode) -> Conversion:
    return Conversion(SCHEMA, (0, None, 1), (2,), types, ("id",), may_reject=True)


def batch(values: list[tuple[int | None, int | None, bool | None]]) -> pa.RecordBatch:
    schema = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("extra", pa.bool_())])
    return pa.record_batch([pa.array([row[i] for row in values], schema.field(i).type) for i in range(3)], schema=schema)


@given(rows)
def test_each_bad_row_is_rejected_once_and_the_others_are_kept(values: list[tuple[int | None, int | None, bool | None]]) -> None:
    converted = conversion(ContractMode.DISCARD_ROW).apply(batch(values), 1000)
    expected_kept, expected_rejected = [], []
    for number, (key, n, extra) in enumerate(values, 1000):
        if extra is not None:
            expected_rejected.append((number, "extra", RejectionReason.COLUMN_UNKNOWN))
        elif key is not None and key > 127:
            expected_rejected.append((number, "id", RejectionReason.VALUE_DOES_NOT_FIT))
        elif n is not None and n > 127:
            expected_rejected.append((number, "n", RejectionReason.VALUE_DOES_NOT_FIT))
        elif key is None:
            expected_rejected.append((number, "id", RejectionReason.KEY_IS_NULL))
        else:
            expected_kept.append((number, {"id": key, "missing": None, "n": n}))
    assert list(zip(converted.row_numbers.tolist(), converted.rows.to_pylist(), strict=True)) == expected_kept
    assert [(each.row, each.column, each.reason) for each in converted.rejected] == expected_rejected


@given(st.lists(st.none() | st.integers(0, 300), max_size=30))
def test_discarded_values_are_null(values: list[int | None]) -> None:
    converted = conversion(ContractMode.DISCARD_VALUE).apply(batch([(1, n, None) for n in values]), 0)
    assert converted.rows.column("n").to_pylist() == [None if n is None or n > 127 else n for n in values]
    assert converted.rejected == ()


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=10), max_size=5))
def test_the_last_row_of_each_key_is_the_newest(batches: list[list[int]]) -> None:
    first, converted = 0, []
    for keys in batches:
        converted.append(conversion(ContractMode.FREEZE).apply(batch([(key, 0, None) for key in keys]), first))
        first += len(keys)
    flat = [key for keys in batches for key in keys]
    last = {key: row for row, key in enumerate(flat)}
    assert newest_rows(converted, ["id"], first).tolist() == [last[key] == row for row, key in enumerate(flat)]
