"""Files of every format, and what pyarrow or Polars read from them."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastavro
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.feather as feather
import pyarrow.json as arrow_json
import pyarrow.orc as orc
import pyarrow.parquet as parquet

from tests.unit.ingestion.readers.workbooks import DATE, MOMENT, boolean, number, text, xlsx

_UTC = datetime.UTC
_MOMENT = datetime.datetime(2013, 7, 4, 23, 59, 59, 123456, tzinfo=_UTC)
_BEFORE_1970 = datetime.datetime(1905, 1, 2, 3, 4, 5, 6, tzinfo=_UTC)

PLAIN = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "name": ["Zoë; \"quoted\", 'twice'", "two\nlines", None, "鹿 🦌 \u202b‏שלום", " blanks "],
        "largest": pa.array([2**63 - 1, -(2**63), 0, None, -1], pa.int64()),
        "ratio": [0.1, -1e-300, None, 1.7976931348623157e308, -2.5],
        "flag": [True, False, None, True, False],
        "day": [datetime.date(2020, 2, 29), None, datetime.date(1905, 1, 2), datetime.date(9999, 12, 31), datetime.date(1, 1, 1)],
        "at": pa.array([_MOMENT, _BEFORE_1970, None, _MOMENT, _MOMENT], pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("12345678901234567.89"), Decimal("-0.01"), None, Decimal(0), Decimal(7)], pa.decimal128(38, 2)),
        "nothing": pa.nulls(5, pa.string()),
    }
)
"""What text can say, too. No number but `price` needs more digits than its type has."""

TYPED = PLAIN.append_column("tiny", pa.array([-128, 127, None, 0, 1], pa.int8())).append_column(
    "half", pa.array([1.5, -0.0, None, 3e38, 0], pa.float32())
)
TYPED = (
    TYPED.append_column("bytes", pa.array([b"\0\xff", b"", None, b"x", b"y"]))
    .append_column("local", pa.array([datetime.datetime(1999, 12, 31, 23, 59), None, None, None, None], pa.timestamp("us")))
    .append_column("list", pa.array([[1, None], [], None, [2], [3]], pa.list_(pa.int64())))
    .append_column(
        "inner",
        pa.array([{"x": 1, "y": "é"}, {"x": None, "y": None}, None, None, None], pa.struct([("x", pa.int32()), ("y", pa.string())])),
    )
    .append_column("map", pa.array([[("k", 1)], [], None, None, None], pa.map_(pa.string(), pa.int64())))
)
"""What a Delta table holds as it is."""

FOREIGN = (
    PLAIN.append_column("unsigned", pa.array([2**64 - 1, 0, None, 1, 2], pa.uint64()))
    .append_column("word", pa.array(["a", "b", None, "a", "b"]).dictionary_encode())
    .append_column("long_text", pa.array(["a", "b", None, "a", "b"], pa.large_string()))
    .append_column("berlin", pa.array([_MOMENT, _BEFORE_1970, None, _MOMENT, _MOMENT], pa.timestamp("us", "Europe/Berlin")))
    .append_column("nanoseconds", pa.array([1000, -2000, None, 0, 0], pa.timestamp("ns")))
)
_FOREIGN_TYPES = {
    "unsigned": pa.decimal128(20, 0),
    "word": pa.string(),
    "long_text": pa.string(),
    "berlin": pa.timestamp("us", "UTC"),
    "nanoseconds": pa.timestamp("us"),
}
"""Types that become others, without loss."""


@dataclass(frozen=True)
class Sample:
    """A format.

    Args:
        suffix: Of its files.
        table: The rows of a file.
        write: Makes a file.
        read: What pyarrow or Polars read from a file.
        types: Types that the dataset has where the reader gives others.
        options: How it is to be read.
    """

    suffix: str
    table: pa.Table
    write: Callable[[pa.Table], bytes]
    read: Callable[[Path], pa.Table]
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def expected(self, path: Path) -> pa.Table:
        """What pyarrow or Polars read from a file, in the types of a dataset."""
        read = self.read(path)
        columns = [column.cast(self.types.get(name, column.type)) for name, column in zip(read.column_names, read.columns, strict=True)]
        return pa.table(dict(zip(read.column_names, columns, strict=True)))

    def second(self) -> pa.Table:
        """As many rows with other values, three of which have keys of the first ones."""
        others = self.table.take([1, 0, 3, 2, 4])
        return others.set_column(0, "id", pa.array([3, 4, 5, 6, 7], pa.int64()))


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _compressed(data: bytes, codec: str) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, codec) as stream:
        stream.write(data)
    return bytes(buffer.getvalue().to_pybytes())


def _as_csv(table: pa.Table) -> bytes:
    return _written(lambda file: arrow_csv.write_csv(table, file))


def _read_csv(path: Path) -> pa.Table:
    # The types are those that the values ask for: by itself Arrow takes decimals for floats.
    options = arrow_csv.ConvertOptions(
        column_types=PLAIN.schema, strings_can_be_null=True, quoted_strings_can_be_null=False, timestamp_parsers=[arrow_csv.ISO8601]
    )
    return arrow_csv.read_csv(path, parse_options=arrow_csv.ParseOptions(newlines_in_values=True), convert_options=options)


def _json_rows(table: pa.Table) -> list[str]:
    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime.date) else value

    return [json.dumps({key: plain(value) for key, value in row.items()}, ensure_ascii=False) for row in table.to_pylist()]


_JSON_TABLE = PLAIN.drop_columns(["price"]).append_column("price", pa.array([12345.25, -0.01, None, 0.0, 7.5]))
_JSON_TYPES = {"day": pa.date32(), "at": pa.timestamp("us", "UTC"), "price": pa.decimal128(12, 2), "nothing": pa.string()}
_JSON_OPTIONS = {"column_types": {"price": "decimal128(12, 2)"}}


def _as_json(table: pa.Table) -> bytes:
    return f"[{','.join(_json_rows(table))}]".encode()


def _as_ndjson(table: pa.Table) -> bytes:
    return "\n".join(_json_rows(table)).encode()


def _read_json(path: Path) -> pa.Table:
    return _with_plain_text(pl.read_json(path, infer_schema_length=None).to_arrow())


def _read_ndjson(path: Path) -> pa.Table:
    text = pa.schema([(name, pa.string()) for name in ("day", "at", "nothing")])
    with pa.input_stream(str(path)) as stream:  # inflates by suffix
        return arrow_json.read_json(stream, parse_options=arrow_json.ParseOptions(explicit_schema=text)).select(_JSON_TABLE.column_names)


def _with_plain_text(table: pa.Table) -> pa.Table:
    """Polars' text is Arrow's, in another layout."""
    large = (pa.large_string(), pa.string_view())
    types = [pa.string() if kind in large else kind for kind in table.schema.types]
    return table.cast(pa.schema(list(zip(table.column_names, types, strict=True))))


_AVRO_TYPES: dict[str, Any] = {
    "id": "long",
    "name": "string",
    "largest": "long",
    "ratio": "double",
    "flag": "boolean",
    "day": {"type": "int", "logicalType": "date"},
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "half": "float",
    "bytes": "bytes",
}
_AVRO_TABLE = TYPED.select([*_AVRO_TYPES])


def _as_avro(table: pa.Table) -> bytes:
    fields = [{"name": name, "type": kind if name == "id" else ["null", kind]} for name, kind in _AVRO_TYPES.items()]
    schema = {"type": "record", "name": "row", "fields": fields}
    return _written(lambda file: fastavro.writer(file, schema, table.to_pylist(), codec="deflate"))


def _read_avro(path: Path) -> pa.Table:
    read = _with_plain_text(pl.read_avro(path).to_arrow())
    return read.set_column(read.schema.get_field_index("bytes"), "bytes", read["bytes"].cast(pa.binary()))


def _as_orc(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    orc.write_table(table, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def _as_stream(table: pa.Table) -> bytes:
    def write(file: io.BytesIO) -> None:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)

    return _written(write)


def _as_ipc(table: pa.Table) -> bytes:
    def write(file: io.BytesIO) -> None:
        with pa.ipc.new_file(file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)

    return _written(write)


_SHEET = pa.table(
    {
        "id": [1, 2, 3, 4, 5],
        "name": ["Zoë", None, "鹿 🦌", "00123", " x "],
        "ratio": [0.5, -2.25, None, 1e300, 3.0],
        "flag": [True, None, False, True, False],
        "day": [datetime.date(2020, 2, 29), None, datetime.date(1999, 12, 31), datetime.date(2020, 1, 1), datetime.date(2020, 1, 2)],
        "at": pa.array([datetime.datetime(2020, 1, 1, 12), None, datetime.datetime(2020, 1, 1), None, None], pa.timestamp("us")),
    }
)
_ROW = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}row"
_FIRST_DAY = datetime.datetime(1899, 12, 30)


def _as_sheet(table: pa.Table) -> bytes:
    def cell(reference: str, value: Any) -> str:
        if isinstance(value, str):
            return text(reference, value).replace("<t>", '<t xml:space="preserve">')
        if isinstance(value, bool):
            return boolean(reference, value)
        if isinstance(value, datetime.datetime):
            return number(reference, (value - _FIRST_DAY) / datetime.timedelta(days=1), MOMENT)
        if isinstance(value, datetime.date):
            return number(reference, (value - _FIRST_DAY.date()).days, DATE)
        return number(reference, value)

    rows = [table.column_names, *(list(row.values()) for row in table.to_pylist())]
    sheet = {
        line: [cell(f"{letter}{line}", value) for letter, value in zip("ABCDEF", row, strict=True) if value is not None]
        for line, row in enumerate(rows, start=1)
    }
    return xlsx({"S": sheet})


def _read_sheet(path: Path) -> pa.Table:
    """The cells as XML has them: nothing that is installed reads workbooks but what the server has."""
    with zipfile.ZipFile(path) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))

    def value(cell: ElementTree.Element) -> Any:
        content = "".join(cell.itertext())
        if cell.get("t") == "inlineStr":
            return content
        if cell.get("t") == "b":
            return content == "1"
        moment = _FIRST_DAY + datetime.timedelta(days=float(content)) if cell.get("s") in (str(DATE), str(MOMENT)) else None
        return float(content) if moment is None else moment

    lines = [
        {cell.attrib["r"][0]: value(cell) for cell in row.iter() if "r" in cell.attrib and cell is not row} for row in sheet.iter(_ROW)
    ]
    rows = [{name: line.get(letter) for letter, name in lines[0].items()} for line in lines[1:]]
    return pa.table(
        {
            name: pa.array([row[name] for row in rows]).cast(kind)
            for name, kind in zip(_SHEET.column_names, _SHEET.schema.types, strict=True)
        }
    )


SAMPLES: Mapping[str, Sample] = {
    "csv": Sample("csv", PLAIN, _as_csv, _read_csv),
    "csv.gz": Sample("csv.gz", PLAIN, lambda table: gzip.compress(_as_csv(table)), _read_csv),
    "json": Sample("json", _JSON_TABLE, _as_json, _read_json, _JSON_TYPES, _JSON_OPTIONS),
    "ndjson": Sample("ndjson", _JSON_TABLE, _as_ndjson, _read_ndjson, _JSON_TYPES, _JSON_OPTIONS),
    "ndjson.zst": Sample(
        "ndjson.zst", _JSON_TABLE, lambda table: _compressed(_as_ndjson(table), "zstd"), _read_ndjson, _JSON_TYPES, _JSON_OPTIONS
    ),
    "parquet": Sample("parquet", TYPED, lambda table: _written(lambda file: parquet.write_table(table, file)), parquet.read_table),
    "parquet of foreign types": Sample(
        "parquet", FOREIGN, lambda table: _written(lambda file: parquet.write_table(table, file)), parquet.read_table, _FOREIGN_TYPES
    ),
    "avro": Sample("avro", _AVRO_TABLE, _as_avro, _read_avro),
    "orc": Sample("orc", TYPED, _as_orc, orc.read_table, {"at": pa.timestamp("us", "UTC"), "local": pa.timestamp("us")}),
    "arrow file": Sample("arrow", TYPED, _as_ipc, lambda path: pa.ipc.open_file(path.read_bytes()).read_all()),
    "arrow stream": Sample("arrows", TYPED, _as_stream, lambda path: pa.ipc.open_stream(path.read_bytes()).read_all()),
    "feather": Sample("feather", TYPED, lambda table: _written(lambda file: feather.write_feather(table, file)), feather.read_table),
    "xlsx": Sample("xlsx", _SHEET, _as_sheet, _read_sheet),
}
"""Formats by name."""
