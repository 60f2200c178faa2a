"""Files that nobody may take in, each with what is to be said of it."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import itertools
import json
import lzma
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as parquet

from tests.unit.ingestion.readers.workbooks import XLS, error, number, text, xlsx

_MEGABYTE = 2**20


@dataclass(frozen=True)
class BadFile:
    """A file.

    Args:
        name: What its sender calls it.
        make: Makes its bytes.
        reason: Of the error, as in docs/errors.md.
        place: What the message says after the name: a line, a column, or both.
        read: Options, as in `mlops.ingestion.v1.ReadOptions`.
        is_inline: Whether it is small enough to be sent in a request.
    """

    name: str
    make: Callable[[], bytes]
    reason: str
    place: str = ""
    read: Mapping[str, Any] = field(default_factory=dict)
    is_inline: bool = True

    @functools.cached_property
    def data(self) -> bytes:
        """Its bytes."""
        return self.make()

    @property
    def message_start(self) -> str:
        """What the message begins with."""
        return f"{self.name}{', ' if self.place else ''}{self.place}: "


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _compressed(codec: str, data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, codec) as stream:
        stream.write(data)
    return bytes(buffer.getvalue().to_pybytes())


_TABLE = pa.table({"id": range(2000), "name": [f"row {index * 7919 % 2003}" for index in range(2000)]})


_LONG_TEXTS = pa.table({"a": ["x" * _MEGABYTE] * 70})
_HUGE_DECIMALS = pa.table({"a": pa.array([Decimal(1)], pa.decimal256(50, 2))})
_FAR_DAY = pa.table({"a": pa.array([2**31 - 1], pa.int32()).cast(pa.date32())})
_LATE_DAY = pa.table({"a": pa.array([0, 2_932_897], pa.int32()).cast(pa.date32())})
_TWINS = pa.table({"a": pa.array([{"b": 1, "B": 2}])})
_NANOSECONDS = pa.table({"a": pa.array([1000, 1], pa.timestamp("ns"))})
_ONE_NAME = pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"])


def _parquet(table: pa.Table = _TABLE, **options: Any) -> bytes:
    return _written(lambda file: parquet.write_table(table, file, **options))


def _orc(table: pa.Table = _TABLE) -> bytes:
    return _written(lambda file: orc.write_table(table, file))


def _deep() -> pa.Table:
    kind, value = pa.int64(), 1
    for _ in range(64):
        kind, value = pa.list_(kind), [value]
    return pa.table({"a": pa.array([value], kind)})


def _stream(table: pa.Table = _TABLE) -> bytes:
    def write(file: io.BytesIO) -> None:
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)

    return _written(write)


def _feather() -> bytes:
    return _written(lambda file: feather.write_feather(_TABLE, file, compression="lz4"))


def _avro(kind: Any = "string", rows: list[Any] | None = None) -> bytes:
    schema = {"type": "record", "name": "row", "fields": [{"name": "a", "type": kind}]}
    return _written(lambda file: fastavro.writer(file, schema, [{"a": "x" * 100}] * 200 if rows is None else rows))


def _xlsx(*cells: str) -> bytes:
    return xlsx({"S": {1: [text("A1", "a"), text("B1", "b")], 2: [number("A2", 1), *cells]}})


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _without_end(data: bytes) -> bytes:
    return data[:-9]


def _zip(parts: Mapping[str, bytes]) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)

    return _written(write)


def _with_part(book: bytes, name: str, content: bytes) -> bytes:
    buffer = io.BytesIO(book)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _with_sheet(book: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook with a part that is another one."""
    return _rezipped(book, {"xl/worksheets/sheet1.xml": change})


def _with_entities(sheet: bytes) -> bytes:
    """XML of some kilobytes that says three gigabytes of text."""
    names = [b"laugh%d" % index for index in range(10)]
    larger = b"".join(b'<!ENTITY %s "%s">' % (name, (b"&%s;" % before) * 10) for before, name in itertools.pairwise(names))
    kind = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY laugh0 "ha">%s]>' % larger
    return kind + sheet.replace(b"<t>a</t>", b"<t>&laugh9;</t>")


def _shared_text_bomb() -> bytes:
    kind = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
    relation = b'<Relationship Id="t" Type="%s" Target="sharedStrings.xml"/></Relationships>' % kind
    book = _rezipped(_xlsx(), {"xl/_rels/workbook.xml.rels": lambda part: part.replace(b"</Relationships>", relation)})
    space = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    return _with_part(book, "xl/sharedStrings.xml", space + b"<si><t>%s</t></si></sst>" % (b"x" * (70 * _MEGABYTE)))


def _rezipped(book: bytes, changes: Mapping[str, Callable[[bytes], bytes]]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return _zip({name: changes[name](content) if name in changes else content for name, content in parts.items()})


def _with_flipped_bytes(data: bytes, start: int, count: int = 64) -> bytes:
    return data[:start] + bytes(byte ^ 0xFF for byte in data[start : start + count]) + data[start + count :]


def _said_to_be_small(book: bytes, part: str, size_bytes: int) -> bytes:
    """A zip file that says in its directory and before the part that the part is no larger than this."""
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        told = archive.getinfo(part).file_size
    return book.replace(struct.pack("<I", told), struct.pack("<I", size_bytes))


_DEEP = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}\n"
_CSV = b"id,name,day\n" + b"".join(b"%d,row %d,2020-01-%02d\n" % (each, each, each % 28 + 1) for each in range(2000))
_NDJSON = b"".join(b'{"id":%d,"name":"row %d"}\n' % (each, each) for each in range(2000))
_LONG_LINES = (b"0" * _MEGABYTE + b"\n") * 70
_JSON = json.dumps([{"id": each, "name": f"row {each}"} for each in range(2000)]).encode()

_TEXTS = [
    BadFile("empty.csv", lambda: b"", "EMPTY_FILE", is_inline=False),
    BadFile("blank.csv", lambda: b"\n\n\r\n", "EMPTY_FILE"),
    BadFile("mark-only.csv", lambda: b"\xef\xbb\xbf", "EMPTY_FILE"),
    BadFile("ragged.csv", lambda: b"a,b\n1,2\n3,4,5\n", "RAGGED_ROW", "line 3"),
    BadFile("ragged-late.csv", lambda: _CSV + b"1,2\n", "RAGGED_ROW", "line 2002"),
    BadFile("cut-off.csv", lambda: _CSV[:-15], "RAGGED_ROW", "line 2001"),
    BadFile("latin.csv", lambda: "a,b\n1,x\n2,Zoë\n".encode("latin-1"), "WRONG_ENCODING", "line 3"),
    BadFile("cut-in-a-letter.csv", lambda: "a,b\n1,Zoë".encode()[:-1], "WRONG_ENCODING", "line 2"),
    BadFile("windows.csv", lambda: "a\nx\n".encode("utf-16"), "WRONG_ENCODING", "line 1"),
    BadFile("no-mark.csv", lambda: "a\nx\n".encode("utf-16-le"), "NUL_CHARACTER", "line 1"),
    BadFile("odd.csv", lambda: "a\nx\n".encode("utf-16") + b"x", "WRONG_ENCODING", read={"encoding": "utf-16"}, place="line 3"),
    BadFile("nul.csv", lambda: b"a,b\n1,x\n2,x\0y\n", "NUL_CHARACTER", "line 3"),
    BadFile("twice.csv", lambda: b"a,b,a\n1,2,3\n", "INVALID_HEADER", "column 'a'"),
    BadFile("quote.csv", lambda: b'a,b\n1,x\n2,"x\n3,y\n', "QUOTE_NOT_CLOSED", "line 3"),
    BadFile("quote-in-header.csv", lambda: b'a,"b\n1,x\n', "QUOTE_NOT_CLOSED", "line 1"),
    BadFile("wide.csv", lambda: ",".join(f"c{each}" for each in range(10_001)).encode(), "FILE_TOO_LARGE"),
    BadFile("long-cell.csv", lambda: b"a,b\n1," + b"x" * (17 * _MEGABYTE) + b"\n", "FILE_TOO_LARGE", "line 2, column 'b'", is_inline=False),
    BadFile("mixed.ndjson", lambda: b'{"a":1}\n{"a":"x"}\n', "MIXED_TYPES", "line 2, column 'a'"),
    BadFile("mixed-within.ndjson", lambda: b'{"a":[1]}\n{"a":[{"b":1}]}\n', "MIXED_TYPES", "line 2, column 'a[]'"),
    BadFile("mixed.json", lambda: b'[{"a":true},\n{"a":1}]', "MIXED_TYPES", "line 2, column 'a'"),
    BadFile("empty.ndjson", lambda: b"\n \n", "EMPTY_FILE"),
    BadFile("no-rows.json", lambda: b"[]", "EMPTY_FILE"),
    BadFile("cut-off.ndjson", lambda: _NDJSON[:-8], "INVALID_JSON", "line 2000"),
    BadFile("cut-off.json", lambda: _cut(_JSON), "INVALID_JSON", "line 1"),
    BadFile("comma.json", lambda: b'[{"a":1},\n]', "INVALID_JSON", "line 2"),
    BadFile("not-a-number.ndjson", lambda: b'{"a":1}\n{"a":NaN}\n', "INVALID_JSON", "line 2"),
    BadFile("scalars.json", lambda: b"[1, 2]", "INVALID_JSON", "line 1"),
    BadFile("two-arrays.json", lambda: b'{"a":[{"x":1}],"b":[{"x":1}]}', "INVALID_JSON"),
    BadFile("latin.ndjson", lambda: b'{"a":"x"}\n{"a":"\xff"}\n', "INVALID_JSON", "line 2"),
    BadFile("deep.ndjson", lambda: b'{"a":[]}\n' + _DEEP, "INVALID_JSON", "line 2"),
    BadFile("deep.json", lambda: b'[{"a":[[1]]},\n\n' + _DEEP + b"]", "INVALID_JSON", "line 3"),
    BadFile("deep-text.ndjson", lambda: b'{"a":"x"}\n' + _DEEP, "INVALID_JSON", "line 2", read={"column_types": {"a": "string"}}),
    BadFile("no-name.ndjson", lambda: b'{"":1}\n', "INVALID_HEADER"),
    BadFile("nul-within.ndjson", lambda: b'{"a":{"b\\u0000":1}}\n', "INVALID_HEADER", "column 'a.b\\x00'"),
    BadFile("twice-within.ndjson", lambda: b'{"a":{"b":1,"B":2}}\n', "INVALID_HEADER", "column 'a.B'"),
    BadFile("twice-within.json", lambda: b'[{"a":[{"b":1}]},\n{"a":[{"B":2}]}]', "INVALID_HEADER", "column 'a.B'"),
    BadFile("nothing-within.ndjson", lambda: b'{"a":{}}\n', "UNSUPPORTED_COLUMN_TYPE", "column 'a'"),
    BadFile("digits.ndjson", lambda: b'{"a":1}\n{"a":0.12345678901234567891}\n', "VALUE_DOES_NOT_FIT", "line 2, column 'a'"),
]

_COMPRESSED = [
    BadFile("cut-off.csv.gz", lambda: _cut(gzip.compress(_CSV)), "CORRUPT_FILE"),
    BadFile("no-end.csv.gz", lambda: _without_end(gzip.compress(_CSV)), "CORRUPT_FILE"),
    BadFile("more.csv.gz", lambda: gzip.compress(_CSV) + b"something else", "CORRUPT_FILE"),
    BadFile("cut-off.ndjson.zst", lambda: _cut(_compressed("zstd", _NDJSON)), "CORRUPT_FILE"),
    BadFile("cut-off.csv.xz", lambda: _cut(lzma.compress(_CSV)), "CORRUPT_FILE"),
    BadFile("cut-off.json.bz2", lambda: _cut(bz2.compress(_JSON)), "CORRUPT_FILE"),
    BadFile("cut-off.csv.lz4", lambda: _cut(_compressed("lz4", _CSV)), "CORRUPT_FILE"),
    BadFile("twice.csv.gz", lambda: gzip.compress(gzip.compress(_CSV)), "WRONG_ENCODING", "line 1"),
    BadFile("bomb.csv.gz", lambda: gzip.compress(b"a\n" + _LONG_LINES), "FILE_TOO_LARGE"),
    BadFile("bomb.ndjson.zst", lambda: _compressed("zstd", _LONG_LINES.replace(b"0", b" ")), "FILE_TOO_LARGE"),
    BadFile("bomb.json.bz2", lambda: bz2.compress(b"[" + _LONG_LINES.replace(b"0", b" ")), "FILE_TOO_LARGE", is_inline=False),
    BadFile(
        "bomb.parquet.xz",
        lambda: lzma.compress(_LONG_LINES, preset=0),
        "FILE_TOO_LARGE",
        read={"format": "FILE_FORMAT_PARQUET"},
        is_inline=False,
    ),
]

_TYPED = [
    BadFile("cut-off.parquet", lambda: _cut(_parquet()), "CORRUPT_FILE"),
    BadFile("no-end.parquet", lambda: _without_end(_parquet()), "CORRUPT_FILE"),
    BadFile("marks-only.parquet", lambda: b"PAR1PAR1", "CORRUPT_FILE"),
    BadFile("long-footer.parquet", lambda: b"PAR1" + bytes(50) + b"\xff\xff\xff\x7fPAR1", "CORRUPT_FILE"),
    BadFile("flipped.parquet", lambda: _with_flipped_bytes(_parquet(compression="zstd", write_page_checksum=True), 100), "CORRUPT_FILE"),
    BadFile("bomb.parquet", lambda: _parquet(_LONG_TEXTS, use_dictionary=False, compression="zstd"), "FILE_TOO_LARGE"),
    BadFile("text.parquet", lambda: b"a,b\n1,2\n", "CORRUPT_FILE"),
    BadFile("twice.parquet", lambda: _stream(_ONE_NAME), "INVALID_HEADER", "column 'a'"),
    BadFile("huge-decimals.arrow", lambda: _stream(_HUGE_DECIMALS), "UNSUPPORTED_COLUMN_TYPE", "column 'a'"),
    BadFile("nanoseconds.arrow", lambda: _stream(_NANOSECONDS), "VALUE_DOES_NOT_FIT", "line 2, column 'a'"),
    BadFile("far-day.arrow", lambda: _stream(_FAR_DAY), "VALUE_DOES_NOT_FIT", "line 1, column 'a'"),
    BadFile("late-day.parquet", lambda: _parquet(_LATE_DAY), "VALUE_DOES_NOT_FIT", "line 2, column 'a'"),
    BadFile("far-day.orc", lambda: _orc(_FAR_DAY), "VALUE_DOES_NOT_FIT", "line 1, column 'a'"),
    BadFile("far-day.avro", lambda: _avro({"type": "int", "logicalType": "date"}, [{"a": 2**31 - 1}]), "VALUE_DOES_NOT_FIT", "line 1"),
    BadFile("twice-within.parquet", lambda: _parquet(_TWINS), "INVALID_HEADER", "column 'a.B'"),
    BadFile("deep.orc", lambda: _orc(_deep()), "UNSUPPORTED_COLUMN_TYPE", "column 'a'"),
    BadFile("cut-off.arrow", lambda: _cut(_stream()), "CORRUPT_FILE"),
    BadFile("cut-off.feather", lambda: _cut(_feather()), "CORRUPT_FILE"),
    BadFile("first.feather", lambda: b"FEA1" + bytes(20), "CORRUPT_FILE"),
    BadFile("cut-off.orc", lambda: _cut(_orc()), "CORRUPT_FILE"),
    BadFile("cut-off.avro", lambda: _without_end(_avro()), "CORRUPT_FILE"),
    BadFile("union.avro", lambda: _avro(["string", "long"], [{"a": 1}]), "UNSUPPORTED_COLUMN_TYPE", "column 'a'"),
    BadFile("no-schema.avro", lambda: b"Obj\x01" + b"\xff" * 200, "CORRUPT_FILE"),
]

_MIXED_CELLS = {1: [text("A1", "a")], 2: [number("A2", 1)], 3: [text("A3", "x")]}
_FAR_CELLS = {1: [text("A1", "a")], 1_048_576: [number("XFD1048576", 1)]}
_ESCAPES = {"../../../../../../tmp/escaped.xml": b"<x/>", "/tmp/escaped.xml": b"<x/>"}

_BOOKS = [
    BadFile("cut-off.xlsx", lambda: _cut(_xlsx()), "CORRUPT_FILE"),
    BadFile("text.xlsx", lambda: b"a,b\n1,2\n", "CORRUPT_FILE"),
    BadFile("error.xlsx", lambda: _xlsx(error("B2", "#DIV/0!")), "ERROR_CELL", "line 2, column 'B'"),
    BadFile("mixed.xlsx", lambda: xlsx({"S": _MIXED_CELLS}), "MIXED_TYPES", "line 3, column 'a'"),
    BadFile("no-cells.xlsx", lambda: xlsx({"S": {}}), "EMPTY_FILE"),
    BadFile("far-cells.xlsx", lambda: xlsx({"S": _FAR_CELLS}), "FILE_TOO_LARGE", "line 1048576"),
    BadFile("other.xlsx", lambda: _zip({"word/document.xml": b"<w/>"}), "CORRUPT_FILE"),
    BadFile("escape.xlsx", lambda: _zip(_ESCAPES), "CORRUPT_FILE"),
    BadFile("bomb.xlsx", lambda: _with_part(_xlsx(), "xl/media/image.bin", bytes(70 * _MEGABYTE)), "FILE_TOO_LARGE"),
    BadFile("hidden-bomb.xlsx", lambda: _said_to_be_small(_shared_text_bomb(), "xl/sharedStrings.xml", 100), "CORRUPT_FILE"),
    BadFile("laughs.xlsx", lambda: _with_sheet(_xlsx(), _with_entities), "CORRUPT_FILE"),
    BadFile("no-directory.xlsx", lambda: _xlsx().replace(b"PK\x05\x06", b"PK\x05\x07"), "CORRUPT_FILE"),
    BadFile("cut-off.xls", lambda: _cut(XLS), "CORRUPT_FILE"),
    BadFile("no-sheet.xlsx", _xlsx, "INVALID_READ_OPTIONS", read={"sheet": "T"}),
    BadFile("nul-sheet.xls", lambda: XLS, "INVALID_READ_OPTIONS", read={"sheet": "\0"}),
    BadFile("quote.tsv", lambda: b"a,b\n1,2\n", "INVALID_READ_OPTIONS", read={"quote": ","}),
]

_MISNAMED = [
    BadFile("what.ever", lambda: b"whatever", "UNKNOWN_FORMAT"),
    BadFile("report.pdf", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "UNKNOWN_FORMAT"),
    BadFile("picture.csv", lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "WRONG_ENCODING", "line 1"),
    BadFile("program.csv", lambda: b"\x7fELF\x02\x01\x01" + bytes(40), "NUL_CHARACTER", "line 1"),
    BadFile("archive.csv", lambda: _zip({"a.csv": b"a\n1\n"}), "CORRUPT_FILE"),
    BadFile("table.csv", lambda: b"a,b\n1,2\n", "CORRUPT_FILE", read={"format": "FILE_FORMAT_ORC"}),
    BadFile("zip.csv", lambda: b"zip,b\n1,2\n", "INVALID_READ_OPTIONS", "column 'zap'", read={"column_types": {"zap": "string"}}),
    BadFile("types.csv", lambda: b"a,b\n1,2\n300,3\n", "VALUE_DOES_NOT_FIT", "line 3, column 'a'", read={"column_types": {"a": "int8"}}),
    BadFile("union.csv", lambda: b"a,b\n1,2\n", "INVALID_READ_OPTIONS", "column 'a'", read={"column_types": {"a": "int999"}}),
]

BAD_FILES: Mapping[str, BadFile] = {file.name: file for file in (*_TEXTS, *_COMPRESSED, *_TYPED, *_BOOKS, *_MISNAMED)}
"""All of them by name."""
