from __future__ import annotations

import datetime
import io
import struct
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as parquet
import pytest

from servers.ingestion.errors import CorruptFile, EmptyFile, InvalidHeader, UnsupportedColumnType, ValueDoesNotFit
from servers.ingestion.readers.options import Format, ReadOptions

UTC = datetime.UTC
TABLE = pa.table(
    {
        "i8": pa.array([1, None], pa.int8()),
        "i64": [2**62, -1],
        "f32": pa.array([1.5, None], pa.float32()),
        "f64": [0.1, float("inf")],
        "b": [True, None],
        "s": ["é", None],
        "bin": [b"\0\xff", b""],
        "d": [datetime.date(2020, 1, 1), None],
        "t": pa.array([1, None], pa.timestamp("us")),
        "dec": pa.array([Decimal("1.20"), None], pa.decimal128(10, 2)),
        "l": [[1, None], None],
        "st": [{"x": 1, "y": "a"}, None],
        "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    }
)
WITH_ZONE = TABLE.append_column("tz", pa.array([1, None], pa.timestamp("us", "UTC")))


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, **options)
    return buffer.getvalue()


def as_orc(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    orc.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


def as_feather(table: pa.Table, compression: str) -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(table, buffer, compression=compression)
    return buffer.getvalue()


def as_stream(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def as_avro(schema: Any, rows: list[Any], codec: str = "null") -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, rows, codec=codec)
    return buffer.getvalue()


def record(*fields: tuple[str, Any]) -> Any:
    return {"type": "record", "name": "row", "fields": [{"name": name, "type": kind} for name, kind in fields]}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (as_parquet(WITH_ZONE), Format.PARQUET),
        (as_parquet(WITH_ZONE, compression="zstd", version="1.0", use_dictionary=False), Format.PARQUET),
        (as_orc(TABLE), Format.ORC),
        (as_feather(WITH_ZONE, "lz4"), Format.ARROW),
        (as_feather(WITH_ZONE, "uncompressed"), Format.ARROW),
        (as_stream(WITH_ZONE), Format.ARROW),
    ],
)
def test_what_arrow_writes_comes_back(read, data, kind):
    found = read(data, "no suffix")
    written = TABLE if kind is Format.ORC else WITH_ZONE
    assert found.format is kind
    assert found.table.to_pydict() == written.to_pydict()
    if "version" not in str(kind):
        assert found.table.schema.names == written.schema.names
    assert found.table.schema.field("l").type == pa.list_(pa.int64())


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_what_fastavro_writes_comes_back(read, codec):
    schema = record(
        ("i", "int"),
        ("l", ["null", "long"]),
        ("f", "float"),
        ("d", "double"),
        ("b", "boolean"),
        ("s", "string"),
        ("y", "bytes"),
        ("e", {"type": "enum", "name": "e", "symbols": ["A", "B"]}),
        ("x", {"type": "fixed", "name": "x", "size": 2}),
        ("a", {"type": "array", "items": ["null", "string"]}),
        ("m", {"type": "map", "values": "long"}),
        ("r", ["null", record(("z", "int")) | {"name": "inner"}]),
        ("day", {"type": "int", "logicalType": "date"}),
        ("at", {"type": "long", "logicalType": "timestamp-micros"}),
        ("local", {"type": "long", "logicalType": "local-timestamp-millis"}),
        ("time", {"type": "int", "logicalType": "time-millis"}),
        ("dec", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}),
        ("id", {"type": "string", "logicalType": "uuid"}),
        ("n", ["int", "double"]),
    )
    row = {
        "i": -1, "l": None, "f": 0.5, "d": 0.1, "b": True, "s": "é", "y": b"\0", "e": "B", "x": b"ab", "a": ["x", None], "m": {"k": 1},
        "r": {"z": 3}, "day": datetime.date(2020, 1, 1), "at": datetime.datetime(2020, 1, 1, tzinfo=UTC),
        "local": datetime.datetime(2020, 1, 1), "time": datetime.time(1, 2, 3), "dec": Decimal("1.20"),
        "id": "12345678-1234-5678-1234-567812345678", "n": 1,
    }  # fmt: skip
    found = read(as_avro(schema, [row, row], codec), "x")
    assert found.format is Format.AVRO
    assert found.table.num_rows == 2
    assert found.table.to_pylist()[0] == row | {"m": [("k", 1)], "time": "01:02:03.000", "n": 1.0}
    assert found.table.schema.field("dec").type == pa.decimal128(10, 2)
    assert "times of day become text" in found.warnings[0]


@pytest.mark.parametrize(
    ("values", "plain"),
    [
        (pa.array(["a", None]).dictionary_encode(), pa.array(["a", None])),
        (pa.array(["a", None], pa.large_string()), pa.array(["a", None])),
        (pa.array(["a", None], pa.string_view()), pa.array(["a", None])),
        (pa.array([b"a"], pa.large_binary()), pa.array([b"a"])),
        (pa.array([b"ab"], pa.binary(2)), pa.array([b"ab"])),
        (pa.array([b"1" * 16], pa.uuid()), pa.array([b"1" * 16])),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["a", "b"]), pa.array(["a", "a", "b"])),
        (pa.array([255], pa.uint8()), pa.array([255], pa.int16())),
        (pa.array([2**16 - 1], pa.uint16()), pa.array([2**16 - 1], pa.int32())),
        (pa.array([2**32 - 1], pa.uint32()), pa.array([2**32 - 1], pa.int64())),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([Decimal(2**64 - 1)], pa.decimal128(20, 0))),
        (pa.array([1.5], pa.float16()), pa.array([1.5], pa.float32())),
        (pa.array([86_400_000]).cast(pa.date64()), pa.array([datetime.date(1970, 1, 2)])),
        (pa.array([1], pa.timestamp("s")), pa.array([1_000_000], pa.timestamp("us"))),
        (pa.array([2000], pa.timestamp("ns", "Europe/Berlin")), pa.array([2], pa.timestamp("us", "UTC"))),
        (pa.array([1_500_000], pa.time64("us")), pa.array(["00:00:01.500000"])),
        (pa.array([3], pa.duration("ms")), pa.array([3000])),
        (pa.array([Decimal("1.2")], pa.decimal256(38, 1)), pa.array([Decimal("1.2")], pa.decimal128(38, 1))),
        (pa.array([["a"]], pa.large_list(pa.large_string())), pa.array([["a"]])),
        (pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()), 1)), pa.array([["a"]])),
        (pa.array([["a"]], pa.list_view(pa.string())), pa.array([["a"]])),
        (pa.array([{"x": 1}], pa.struct([("x", pa.uint8())])), pa.array([{"x": 1}], pa.struct([("x", pa.int16())]))),
        (pa.nulls(2), pa.array([None, None], pa.string())),
    ],
    ids=lambda array: str(array.type),
)
def test_types_become_those_of_a_table(read, values, plain):
    column = read(as_stream(pa.table({"a": values}))).table.column("a")
    assert column.combine_chunks().equals(plain)
    assert column.type == plain.type


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (pa.array([1000, 1001], pa.timestamp("ns")), ValueDoesNotFit, r"line 2, column 'a': a value of type timestamp\[ns\]"),
        (pa.array([0, 2**62], pa.timestamp("s")), ValueDoesNotFit, "line 2, column 'a'"),
        (pa.array([1], pa.duration("ns")), ValueDoesNotFit, "column 'a'"),
        (pa.array([1], pa.decimal256(50, 2)), UnsupportedColumnType, r"column 'a': no table holds the type decimal256\(50, 2\)"),
        (pa.array([[1]], pa.list_(pa.duration("s"))), UnsupportedColumnType, "column 'a'"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), UnsupportedColumnType, "column 'a'"),
        (pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]), UnsupportedColumnType, "column 'a'"),
        (pa.array([{}], pa.struct([])), UnsupportedColumnType, "column 'a'"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_what_no_table_holds(read, values, kind, message):
    with pytest.raises(kind, match=message):
        read(as_stream(pa.table({"a": values})))


def test_a_wanted_type(read):
    data = as_parquet(pa.table({"a": [1, 300], "b": ["1", "2"]}))
    assert read(data, options=ReadOptions(column_types={"a": pa.float64()})).table.column("a").to_pylist() == [1.0, 300.0]
    with pytest.raises(ValueDoesNotFit, match="line 2, column 'a'"):
        read(data, options=ReadOptions(column_types={"a": pa.int8()}))


def test_old_timestamps_of_spark_do_not_wrap_around(read):
    table = pa.table({"a": [datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31)]})
    assert read(as_parquet(table, use_deprecated_int96_timestamps=True)).table.to_pydict() == table.to_pydict()


def test_two_columns_of_one_name(read):
    with pytest.raises(InvalidHeader, match="columns 1 and 2 are both called 'a'"):
        read(as_stream(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])))


@pytest.mark.parametrize(
    "data",
    [as_parquet(TABLE), as_orc(TABLE), as_feather(TABLE, "lz4"), as_stream(TABLE), as_avro(record(("a", "string")), [{"a": "x" * 99}])],
)
def test_files_that_are_cut_off(read, data):
    for end in (len(data) // 3, len(data) // 2, len(data) - 12):
        with pytest.raises(CorruptFile, match="damaged, cut off") as caught:
            read(data[:end], "x")
        assert "/" not in caught.value.message


@pytest.mark.parametrize("kind", [Format.PARQUET, Format.AVRO, Format.ORC, Format.ARROW, Format.EXCEL])
def test_files_without_a_byte_or_of_another_format(read, kind):
    with pytest.raises(EmptyFile):
        read(b"", options=ReadOptions(format=kind))
    with pytest.raises(CorruptFile):
        read(b"a,b\n1,2\n" * 10, options=ReadOptions(format=kind))


def test_the_first_feather(read):
    with pytest.raises(CorruptFile, match="version 1 of Feather"):
        read(b"FEA1" + bytes(20))


def test_a_table_without_rows_keeps_its_types(read):
    for data in (as_parquet(TABLE[:0]), as_orc(TABLE[:0]), as_stream(TABLE[:0])):
        found = read(data, "x").table
        assert found.num_rows == 0
        assert found.schema.field("i8").type == pa.int8()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (record(("a", ["string", "long"])), "column 'a': it is a union"),
        (record(("a", "null")), "rows without end"),
        (record(("k", "long"), ("a", {"type": "array", "items": "null"})), "column 'a': .*take no room"),
        (record(), "no fields"),
        ("string", "no record"),
        (record(("a", ["null", "row"])), "within itself"),
        (record(("a", {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 1})), "at most 38"),
    ],
)
def test_avro_schemas_that_no_table_holds(read, schema, message):
    with pytest.raises(UnsupportedColumnType, match=message):
        read(as_avro(schema, []))


def test_an_arrow_file_whose_offsets_point_outside_is_refused(read):
    data = as_stream(pa.table({"a": ["abc", "def"]}))
    offsets = struct.pack("<3i", 0, 3, 6)
    assert data.count(offsets) == 1
    with pytest.raises(CorruptFile):
        read(data.replace(offsets, struct.pack("<3i", 0, 3, 2**30)))
