from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Callable
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.ingestion.errors import FileTooLarge, InvalidFile
from servers.ingestion.readers import csv_rows, csv_text, json_array, json_rows
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from tests.unit.ingestion.readers.conftest import Read, read_file
from tests.unit.ingestion.readers.test_typed_files import TABLE, as_avro, as_feather, as_orc, as_parquet, as_stream, record
from tests.unit.ingestion.readers.workbooks import XLS, number, text, xlsx

BLOCKS = st.integers(1, 200)

# Text begins with a letter, so that it is no number, time or null word by chance.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8).map(lambda value: f"t{value}")
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float64(), st.floats(allow_nan=False)),
    "boolean": (pa.bool_(), st.booleans()),
    "text": (pa.string(), TEXT),
    "date": (pa.date32(), st.dates()),
    "moment": (pa.timestamp("us"), st.datetimes()),
    "instant": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(datetime.UTC))),
    "big": (pa.decimal128(38, 0), st.integers(2**63, 10**38 - 1)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(
        st.lists(st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=4), min_size=2, max_size=4, unique=True)
    )
    height = draw(st.integers(1, 20))
    columns = []
    for _ in names:
        target, values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        # A column of nulls alone is one of text; that is another test.
        column = draw(st.lists(st.none() | values, min_size=height, max_size=height))
        if all(value is None for value in column):
            column[0] = draw(values)
        columns.append(pa.array(column, target))
    return pa.Table.from_arrays(columns, names)


def written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def as_csv(table: pa.Table) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_MINIMAL)
    writer.writerow(table.column_names)
    writer.writerows([written(value) for value in row.values()] for row in table.to_pylist())
    return buffer.getvalue().encode()


def json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value)
    return value.isoformat() if isinstance(value, datetime.date) else value


def read(data: bytes, name: str, options: ReadOptions | None = None, limits: ReadLimits | None = None, block: int | None = None) -> Read:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stored"
        path.write_bytes(data)
        if block is None:
            return read_file(path, name, options, limits)
        with ExitStack() as stack:
            for module in (csv_text, csv_rows, json_rows, json_array):
                stack.enter_context(mock.patch.object(module, "BLOCK_BYTES", block))
            return read_file(path, name, options, limits)


def small(rows: int, size_bytes: int) -> ReadLimits:
    return ReadLimits(batch_rows=rows, batch_bytes=size_bytes)


@given(tables(), BLOCKS, st.integers(1, 30), st.integers(1, 500))
def test_csv_comes_back_whatever_the_size_of_blocks_and_batches(table, block, rows, size_bytes):
    found = read(as_csv(table), "x.csv", ReadOptions(delimiter=","), small(rows, size_bytes), block)
    assert found.table.schema == table.schema
    assert found.table.to_pylist() == table.to_pylist()


@pytest.mark.parametrize("length", range(70))
def test_a_line_end_within_quotes_stays_whole_wherever_a_block_ends(length):
    cell = "x" * length + "\r\ny"
    found = read(f'a,b\n1,"{cell}"\n'.encode(), "x.csv", ReadOptions(delimiter=","), block=64)
    assert found.table.to_pylist() == [{"a": 1, "b": cell}]


@given(tables(), BLOCKS, st.integers(1, 30), st.integers(1, 500))
def test_json_comes_back_whatever_the_size_of_blocks_and_batches(table, block, rows, size_bytes):
    infinite = (float("inf"), -float("inf"))
    expected = [{name: None if value in infinite else value for name, value in row.items()} for row in table.to_pylist()]
    rows_of_json = [{name: json_value(value) for name, value in row.items()} for row in expected]
    for data, name in (
        ("\n".join(map(json.dumps, rows_of_json)).encode(), "x.ndjson"),
        (json.dumps(rows_of_json, indent=1).encode(), "x.json"),
    ):
        found = read(data, name, limits=small(rows, size_bytes), block=block)
        assert found.table.to_pylist() == expected
        for field in found.table.schema:
            has_values = any(row[field.name] is not None for row in expected)
            assert field.type == (table.schema.field(field.name).type if has_values else pa.string())


@given(tables(), st.integers(1, 30), st.integers(1, 500), st.integers(1, 10))
def test_typed_files_come_back_whatever_the_size_of_batches(table, rows, size_bytes, group):
    for data in (as_parquet(table, row_group_size=group), as_stream(table), as_feather(table, "zstd")):
        found = read(data, "x", limits=small(rows, size_bytes))
        assert found.table.schema == table.schema
        assert found.table.to_pylist() == table.to_pylist()


@given(tables(), st.permutations(range(20)))
def test_types_do_not_depend_on_the_order_of_rows(table, order):
    shuffled = table.take(pa.array([index for index in order if index < len(table)]))
    assert (
        read(as_csv(shuffled), "x.csv", ReadOptions(delimiter=",")).table.schema
        == read(as_csv(table), "x.csv", ReadOptions(delimiter=",")).table.schema
    )


def is_read_or_refused(data: bytes, options: ReadOptions) -> None:
    """Nothing but a refusal, and none that tells of us."""
    limits = ReadLimits(max_decompressed_bytes=10**7, max_columns=200)
    refusal = ""
    try:
        read(data, "sent", options, limits)
    except (InvalidFile, FileTooLarge) as error:
        refusal = error.message
    assert refusal.startswith("sent") or not refusal
    assert "stored" not in refusal
    assert "pyarrow" not in refusal


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from([None, *Format]), st.sampled_from([None, *Compression]))
def test_random_bytes_are_read_or_refused(data, kind, compression):
    is_read_or_refused(data, ReadOptions(format=kind, compression=compression))


@given(
    st.text(st.sampled_from(list('ab1.,;"\n\r\t|\\ {}[]:-eEnulltrue0é')), max_size=60),
    st.sampled_from([None, Format.CSV, Format.JSON, Format.NDJSON]),
)
def test_random_text_is_read_or_refused(data, kind):
    is_read_or_refused(data.encode(), ReadOptions(format=kind))


def damaged_file(data: bytes) -> Callable[..., None]:
    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, len(data)))
    def damage(changes: list[tuple[int, int]], cut: int) -> None:
        damaged = bytearray(data)
        for place, value in changes:
            damaged[place] = value
        is_read_or_refused(bytes(damaged), ReadOptions())
        is_read_or_refused(bytes(damaged[:cut]), ReadOptions())

    return damage


SMALL = TABLE.select(["i64", "s", "l"])


@pytest.mark.parametrize(
    "data",
    [
        as_parquet(SMALL),
        as_orc(SMALL),
        as_stream(SMALL),
        as_feather(SMALL, "lz4"),
        as_avro(record(("a", ["null", "string"]), ("b", {"type": "array", "items": "long"})), [{"a": "x", "b": [1, 2]}] * 3),
        as_avro(record(("a", "long")), [{"a": 5}] * 9, "deflate"),
        xlsx({"S": {1: [text("A1", "a")], 2: [number("A2", 1)]}}),
        XLS,
    ],
    ids=["parquet", "orc", "stream", "feather", "avro", "deflated", "xlsx", "xls"],
)
def test_damaged_files_are_read_or_refused(data):
    damaged_file(data)()
