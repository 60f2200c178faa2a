from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from servers.ingestion.errors import (
    EmptyFile,
    FileTooLarge,
    InvalidHeader,
    InvalidReadOptions,
    NulCharacter,
    QuoteNotClosed,
    RaggedRow,
    ValueDoesNotFit,
    WrongEncoding,
)
from servers.ingestion.readers import csv_rows, csv_text
from servers.ingestion.readers.options import ReadLimits, ReadOptions

UTC = datetime.UTC


def types(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "0"], "int64"),
        (["1", "2.5"], "double"),
        (["1", "1e3", "inf"], "double"),
        (["true", "False"], "bool"),
        (["2020-02-29", "1999-12-31"], "date32[day]"),
        (["2020-02-29", "2020-02-29T12:30"], "timestamp[us]"),
        (["2020-02-29 12:30:01.5", "2020-02-29T12:30:01.123456000"], "timestamp[us]"),
        (["2020-02-29T12:30:01Z", "2020-02-29T12:30:01+02:00"], "timestamp[us, tz=UTC]"),
        (["2020-02-29T12:30:01Z", "2020-02-29T12:30:01"], "string"),
        (["2020-02-29T12:30:01.123456789"], "string"),
        (["2021-02-29"], "string"),
        (["9223372036854775807"], "int64"),
        (["9223372036854775808", "1"], "decimal128(38, 0)"),
        (["0.12345678901234567890", "1"], "decimal128(38, 20)"),
        (["0.30000000000000004", "1e-300"], "double"),
        (["9007199254740993", "0.5"], "decimal128(38, 1)"),
        (["1e400"], "string"),
        (["00123", "4"], "string"),
        (["-007"], "string"),
        (["+491234"], "string"),
        (["0x1F"], "string"),
        ([" 5"], "string"),
        (["1", "x"], "string"),
        (["true", "1"], "string"),
        (["", "NA"], "string"),
        (["", "7", "NULL"], "int64"),
    ],
)
def test_a_column_has_the_narrowest_type_that_keeps_every_value(read, values, expected):
    data = "other,value\n" + "".join(f"x,{value}\n" for value in values)
    assert types(read(data.encode()).table)["value"] == expected


def test_numbers_that_no_type_keeps_stay_text_with_a_warning(read):
    found = read(b"a,b\n0.1234567890123456789012345678901234567890123,1\n")
    assert found.table.column("a").to_pylist() == ["0.1234567890123456789012345678901234567890123"]
    assert "stays text" in found.warnings[0]


def test_digits_survive(read):
    table = read(b"a,b\n0.1234567890123456789,12345678901234567890\n2,3\n").table
    assert table.to_pydict() == {
        "a": [Decimal("0.1234567890123456789"), Decimal("2.0000000000000000000")],
        "b": [Decimal("12345678901234567890"), Decimal(3)],
    }


def test_an_instant_keeps_its_time_in_utc(read):
    table = read(b"a,b\n2020-01-01T01:00:00+02:00,1\n").table
    assert table.column("a").to_pylist() == [datetime.datetime(2019, 12, 31, 23, tzinfo=UTC)]


@pytest.mark.parametrize("block", [16, 64, 1 << 20])
@pytest.mark.parametrize("late", ["1.5", "x", "00123", "2020-01-01", "true", "", "9223372036854775808"])
def test_what_comes_late_decides_as_what_comes_early_whatever_the_size_of_a_block(read, monkeypatch, block, late):
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", block)
    rows = ["1"] * 50
    at_the_end = read(("a,b\n" + "".join(f"{value},k\n" for value in [*rows, late])).encode()).table
    in_front = read(("a,b\n" + "".join(f"{value},k\n" for value in [late, *rows])).encode()).table
    assert at_the_end.schema == in_front.schema
    assert at_the_end.column("a").to_pylist() == [*in_front.column("a").to_pylist()[1:], in_front.column("a").to_pylist()[0]]


@pytest.mark.parametrize("block", [16, 50, 1000])
def test_a_row_longer_than_a_block_is_read(read, monkeypatch, block):
    monkeypatch.setattr(csv_rows, "BLOCK_BYTES", block)
    long = "line\n" * 100
    table = read(f'a,b\n1,x\n2,x\n3,"{long}"\n4,x\n'.encode()).table
    assert table.to_pydict() == {"a": [1, 2, 3, 4], "b": ["x", "x", long, "x"]}


def test_many_blank_lines_are_not_the_end(read):
    assert read(b"a,b\n1,2\n" + b"\n" * 3_000_000 + b"3,4\n").table.to_pydict() == {"a": [1, 3], "b": [2, 4]}


def test_a_value_after_the_rows_that_types_come_from_is_an_error_and_never_null(read):
    with pytest.raises(ValueDoesNotFit, match=r"line 5, column 'a': '00123' does not fit int64.*column_types") as caught:
        read(b"a,b\n1,x\n2,x\n3,x\n00123,x\n", limits=ReadLimits(inference_rows=2))
    assert caught.value.metadata == {"file": "file.csv", "line": "5", "column": "a"}


def test_a_wanted_type_is_believed(read):
    options = ReadOptions(column_types={"a": pa.int16(), "b": pa.string(), "c": pa.decimal128(6, 2)})
    table = read(b"a,b,c\n00123,1,1.5\n", options=options).table
    assert table.to_pydict() == {"a": [123], "b": ["1"], "c": [Decimal("1.50")]}
    assert table.schema.types == [pa.int16(), pa.string(), pa.decimal128(6, 2)]


@pytest.mark.parametrize(
    ("value", "wanted"), [("300", pa.int8()), ("1.234", pa.decimal128(6, 2)), ("x", pa.bool_()), ("2020-13-01", pa.date32())]
)
def test_a_value_that_a_wanted_type_does_not_hold_is_named(read, value, wanted):
    with pytest.raises(ValueDoesNotFit, match=f"line 4, column 'b': '{value}'"):
        read(f'a,b\n"two\nlines",\n1,{value}\n'.encode(), options=ReadOptions(column_types={"b": wanted}))


def test_a_quoted_null_word_is_text_among_text_and_null_among_numbers(read):
    table = read(b'country,delay\n"NA","1"\nNA,""\n"",2\n').table
    assert table.to_pydict() == {"country": ["NA", None, ""], "delay": [1, None, 2]}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read, delimiter):
    data = f'a{delimiter}b\n1{delimiter}"x,;|"\n2{delimiter}y\n'
    assert read(data.encode()).table.to_pydict() == {"a": [1, 2], "b": ["x,;|", "y"]}


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("utf-8", "utf-8"), ("utf-8", "utf-8-sig"), ("utf-16", "utf-16"), ("latin-1", "latin-1"), ("windows-1252", "cp1252")],
)
def test_encodings(read, monkeypatch, encoding, codec):
    monkeypatch.setattr(csv_text, "BLOCK_BYTES", 7)
    data = "größe,b\n1,é\n".encode(codec)
    assert read(data, options=ReadOptions(encoding=encoding)).table.to_pydict() == {"größe": [1], "b": ["é"]}


def test_options_of_the_layout(read):
    options = ReadOptions(delimiter=":", quote="'", escape="\\", has_header=False, skip_rows=2)
    table = read(b"made by x\n\n'a:\\'b':1\nc:2", options=options).table
    assert table.to_pydict() == {"column_1": ["a:'b", "c"], "column_2": [1, 2]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(read, end):
    assert read(end.join(["a,b", "1,2", "", "3,4"]).encode()).table.to_pydict() == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.parametrize("data", [b"a,b", b"a,b\n", b"a,b\r\n\r\n"])
def test_a_header_alone_is_no_rows(read, data):
    table = read(data).table
    assert (table.num_rows, types(table)) == (0, {"a": "string", "b": "string"})


def test_a_column_without_a_name_is_called_after_its_place(read):
    found = read(b",a\n1,2\n")
    assert found.table.column_names == ["column_1", "a"]
    assert found.warnings == ("column 1 has no name in the header and is called 'column_1'",)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", EmptyFile, "file.csv: there is no row"),
        (b"a,a\n1,2\n", InvalidHeader, "columns 1 and 2 are both called 'a'"),
        (b'a,b\n1,2\n\n"x\ny",2\n3\n', RaggedRow, "line 6: the row has 1 cells, and there are 2 columns"),
        (b"a,b\n1,2,3\n", RaggedRow, "line 2: the row has 3 cells"),
        (b'a,b\n1,2\n1,"open\n2,x\n', QuoteNotClosed, "line 3: a quote opens"),
        (b'a,b\n1,"open', QuoteNotClosed, "line 2: a quote opens"),
        (b'"a,b\n1,2\n', QuoteNotClosed, "line 1: the quotes of the first row"),
        (b"a,b\n1,x\0y\n", NulCharacter, "line 2: there is a NUL"),
        (b"a,b\n1,2\n1,\xff\n", WrongEncoding, "line 3: byte 0xff is not utf-8"),
        ("a,b\n1,2".encode("utf-16"), WrongEncoding, "line 1: byte 0xff"),
        (b"a,b\n1,\xe2\x82", WrongEncoding, "line 2"),
    ],
)
def test_bad_files(read, data, kind, message):
    with pytest.raises(kind, match=message) as caught:
        read(data)
    assert "/" not in caught.value.message.replace("N/A", "")


def test_a_quote_that_swallows_more_than_a_cell_may_have(read):
    data = b'a,b\n1,2\n1,"open' + b"x" * 9_000_000
    with pytest.raises(FileTooLarge, match=r"line 3: the row has more than 1000 bytes.*never closed"):
        read(data, limits=ReadLimits(max_cell_bytes=1000))


def test_a_cell_that_is_too_large(read):
    with pytest.raises(FileTooLarge, match="line 3, column 'b': a value has 2000 bytes; at most 1000"):
        read(b"a,b\n1,x\n1," + b"x" * 2000 + b"\n", limits=ReadLimits(max_cell_bytes=1000))


def test_too_many_columns(read):
    with pytest.raises(FileTooLarge, match="there are 3 columns; at most 2"):
        read(b"a,b,c\n", limits=ReadLimits(max_columns=2))


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(delimiter="::"),
        ReadOptions(quote="€"),
        ReadOptions(delimiter='"'),
        ReadOptions(skip_rows=-1),
        ReadOptions(encoding="ebcdic"),
        ReadOptions(column_types={"nope": pa.int64()}),
        ReadOptions(column_types={"a": pa.uint64()}),
    ],
)
def test_options_that_make_no_sense(read, options):
    with pytest.raises(InvalidReadOptions):
        read(b"a,b\n1,2\n", options=options)
