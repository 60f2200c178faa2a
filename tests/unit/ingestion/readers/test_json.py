from __future__ import annotations

import datetime
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from servers.ingestion.errors import (
    EmptyFile,
    FileTooLarge,
    InvalidJson,
    InvalidReadOptions,
    MixedTypes,
    UnsupportedColumnType,
    ValueDoesNotFit,
)
from servers.ingestion.readers import json_array, json_rows
from servers.ingestion.readers.options import Format, ReadLimits, ReadOptions


def lines(*rows: object) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def test_fields_may_come_late_and_keep_their_order(read):
    table = read(lines({"b": 1}, {"a": "x", "b": None}, {}), "x.ndjson").table
    assert table.column_names == ["b", "a"]
    assert table.to_pydict() == {"b": [1, None, None], "a": [None, "x", None]}


def test_nested_values(read):
    rows = [{"a": {"x": 1, "y": [1]}, "l": [{"z": None}]}, {"a": {"x": 2.5, "w": "t"}, "l": []}]
    table = read(lines(*rows), "x.ndjson").table
    assert str(table.schema.field("a").type) == "struct<x: double, y: list<item: int64>, w: string>"
    assert table.column("a").to_pylist() == [{"x": 1.0, "y": [1], "w": None}, {"x": 2.5, "y": None, "w": "t"}]
    assert table.schema.field("l").type == pa.list_(pa.struct([("z", pa.string())]))


def test_text_that_is_a_time_everywhere_becomes_one(read):
    rows = lines(
        {"d": "2020-01-01", "t": "2020-01-01T00:00:00Z", "n": "17"}, {"d": "2020-01-02", "t": "2020-01-01T01:00:00+01:00", "n": "8"}
    )
    table = read(rows, "x.ndjson").table
    assert [str(kind) for kind in table.schema.types] == ["date32[day]", "timestamp[us, tz=UTC]", "string"]
    assert table.column("d").to_pylist()[1] == datetime.date(2020, 1, 2)
    assert len(set(table.column("t").to_pylist())) == 1


@pytest.mark.parametrize("block", [16, 100, 1 << 20])
@pytest.mark.parametrize("late", [1.5, None, 2**70, "x", True, [1], {"x": 1}])
def test_what_comes_late_decides_as_what_comes_early_whatever_the_size_of_a_block(read, monkeypatch, block, late):
    monkeypatch.setattr(json_rows, "BLOCK_BYTES", block)
    monkeypatch.setattr(json_array, "BLOCK_BYTES", block)
    rows = [{"a": value, "k": "y"} for value in [*range(50), late]]
    for data, name in ((lines(*rows), "x.ndjson"), (json.dumps(rows, indent=1).encode(), "x.json")):
        if isinstance(late, str | bool | list | dict):
            with pytest.raises(MixedTypes, match=r"column 'a': there is .* where rows before have a whole number"):
                read(data, name)
        else:
            table = read(data, name).table
            assert table.column("a").to_pylist() == [*range(50), late]
            assert table.schema.field("a").type == {float: pa.float64(), int: pa.decimal128(38, 0)}.get(type(late), pa.int64())


def test_no_line_is_lost_where_a_block_ends(read, monkeypatch):
    data = b"".join(b'{"a":%d}\n' % index for index in range(10, 60))
    for block in range(1, 30):
        monkeypatch.setattr(json_rows, "BLOCK_BYTES", block)
        assert read(data, "x.ndjson").table.column("a").to_pylist() == list(range(10, 60))


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_any_layout(read, monkeypatch, block, indent):
    monkeypatch.setattr(json_array, "BLOCK_BYTES", block)
    rows = [{"a": 'x"]}\\', "b": [{"c": "}"}, {"c": "\\"}]}, {"a": "é", "b": []}]
    for document, options in (
        (rows, ReadOptions()),
        ({"rows": rows, "total": 2, "tags": ["x"], "more": {"rows": [{"q": 1}]}}, ReadOptions()),
        ({"others": [{"z": 1}], "rows": rows}, ReadOptions(json_path="rows")),
    ):
        table = read(json.dumps(document, indent=indent, ensure_ascii=False).encode(), "x.json", options).table
        assert table.to_pylist() == rows


@pytest.mark.parametrize(
    ("value", "wanted", "kept"),
    [
        ("1.12345678901234567890", pa.decimal128(30, 20), Decimal("1.12345678901234567890")),
        ("1.12345678901234567890", pa.float64(), 1.1234567890123457),
        ("1.12345678901234567890", pa.string(), "1.12345678901234567890"),
        ("1.10", pa.string(), "1.10"),
        ('{"x": 1}', pa.string(), '{"x":1}'),
        ("true", pa.string(), "true"),
        ('"17"', pa.int32(), 17),
        ("18446744073709551615", pa.decimal128(20, 0), Decimal(18446744073709551615)),
        ("[1, 2]", pa.list_(pa.float64()), [1.0, 2.0]),
        ("null", pa.int8(), None),
    ],
)
def test_a_wanted_type_takes_the_value_as_it_is_written(read, value, wanted, kept):
    table = read(f'{{"a": {value}, "b": 1}}'.encode(), "x.ndjson", ReadOptions(column_types={"a": wanted})).table
    assert table.to_pylist() == [{"a": kept, "b": 1}]
    assert table.schema.field("a").type == wanted


def test_a_wanted_type_joins_what_is_mixed(read):
    table = read(lines({"a": 1}, {"a": "x"}, {"a": [1]}, {}), "x.ndjson", ReadOptions(column_types={"a": pa.string()})).table
    assert table.column("a").to_pylist() == ["1", "x", "[1]", None]


@pytest.mark.parametrize("value", ["1.12345678901234567890", "1e-400", "0.1234567890123456", "123456789.12345678", "1e22", "17"])
def test_numbers_lose_nothing(read, value):
    data = f'{{"a": [{value}], "i": "1234567890123456789012", "b": 0.5}}'.encode()
    if float(value) and Decimal(value) == Decimal(repr(float(value))):
        assert read(data, "x.ndjson").table.column("a").to_pylist() == [[float(value)]]
    else:
        with pytest.raises(ValueDoesNotFit, match=rf"line 1, column 'a\[\]': {value} has more digits than a number keeps.*decimal128"):
            read(data, "x.ndjson")


@pytest.mark.parametrize("value", [10**20, 2**64, -(10**19), 3 * 10**30, -(2**63) - 1])
def test_whole_numbers_above_64_bits_are_decimals_also_where_a_float_keeps_them(read, value):
    table = read(lines({"a": [10**37 + 1, value], "b": value}), "x.ndjson").table
    assert table.to_pylist() == [{"a": [Decimal(10**37 + 1), Decimal(value)], "b": Decimal(value)}]
    assert table.schema.field("b").type == pa.decimal128(38, 0)


def test_a_whole_number_that_floats_of_its_column_do_not_hold(read):
    with pytest.raises(ValueDoesNotFit, match="line 2, column 'a': 9007199254740993 does not fit double"):
        read(lines({"a": 0.5}, {"a": 2**53 + 1}), "x.ndjson")


def test_true_is_no_number(read):
    for rows in ([{"a": 0.5}, {"a": True}], [{"a": [0.5, True]}]):
        with pytest.raises(MixedTypes, match="column 'a"):
            read(lines(*rows), "x.ndjson")


@pytest.mark.parametrize("late", [{"a": "x"}, {"a": 1.5}, {"new": 1}, {"a": {}}])
def test_a_value_after_the_rows_that_types_come_from_is_an_error_and_never_null(read, late):
    with pytest.raises(ValueDoesNotFit, match="line 3, column"):
        read(lines({"a": 1}, {"a": 2}, late), "x.ndjson", limits=ReadLimits(inference_rows=2))


@pytest.mark.parametrize(
    ("data", "name", "kind", "message"),
    [
        (b"", "x.ndjson", EmptyFile, "no row"),
        (b"{}\n", "x.ndjson", EmptyFile, "no row"),
        (b"", "x.json", EmptyFile, "nothing"),
        (b"[]", "x.json", EmptyFile, "no row"),
        (b'{"a":1}\n\n{"a":}\n', "x.ndjson", InvalidJson, "line 3: not valid JSON"),
        (b'{"a":1}\n{"a":NaN}\n', "x.ndjson", InvalidJson, "line 2: .*write null"),
        (b'{"a":"\xff"}\n', "x.ndjson", InvalidJson, "line 1"),
        (b'{"a":1}\n[1]\n', "x.ndjson", InvalidJson, "line 2: every row is an object"),
        (b'{"a":1},{"a":2}\n', "x.ndjson", InvalidJson, "line 1"),
        (b'[{"a":1},\n{"a":', "x.json", InvalidJson, "line 2: .*cut off"),
        (b'[{"a":1},\n', "x.json", InvalidJson, "cut off"),
        (b'[{"a":1}\n{"a":2}]', "x.json", InvalidJson, "line 2: expected a comma"),
        (b'[{"a":1},]', "x.json", InvalidJson, "line 1: every element"),
        (b"[1]", "x.json", InvalidJson, "every element"),
        (b'[{"a":1}] x', "x.json", InvalidJson, "after the array"),
        (b'"x"', "x.json", InvalidJson, "neither"),
        (b'{"a":1}', "x.json", InvalidJson, "exactly one array.*NDJSON"),
        (b'{"a":[{"x":1}],"b":[{"x":1}]}', "x.json", InvalidJson, "it has: 'a', 'b'.*json_path"),
        (b'{"a":[{"x":1}],"b":', "x.json", InvalidJson, "cut off"),
        (b'{"a":{}}', "x.ndjson", UnsupportedColumnType, "column 'a': .*empty objects"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "x.ndjson", InvalidJson, "line 1: .*64 levels"),
        (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "x.ndjson", InvalidJson, "line 1: .*64 levels"),
        (b'{"":1}', "x.ndjson", None, "no name"),
        (b'{"a\\u0000":1}', "x.ndjson", None, "NUL"),
    ],
)
def test_bad_files(read, data, name, kind, message):
    from servers.ingestion.errors import InvalidFile

    with pytest.raises(kind or InvalidFile, match=message):
        read(data, name)


def test_a_path_to_nothing(read):
    with pytest.raises(InvalidReadOptions, match="arrays there: 'a'"):
        read(b'{"a":[{"x":1}]}', "x.json", ReadOptions(json_path="b"))


def test_limits(read):
    with pytest.raises(FileTooLarge, match="line 2: the line has more than 100 bytes"):
        read(b'{"a":1}\n{"a":"' + b"x" * 3_000_000, "x.ndjson", limits=ReadLimits(max_cell_bytes=100))
    with pytest.raises(FileTooLarge, match="there are 3 columns"):
        read(lines({"a": 1, "b": 1}, {"c": 1}), "x.ndjson", limits=ReadLimits(max_columns=2))
    with pytest.raises(FileTooLarge, match="columns"):
        read(lines(*({"a": {str(index): 1}} for index in range(100))), "x.ndjson", limits=ReadLimits(max_columns=50))


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b'{"a":1}\n{"a":2}\n', "x.json", Format.NDJSON),
        (b'{"a":1}\n{"a":2}\n', "x", Format.NDJSON),
        (b'{"rows":[{"a":1}]}', "x.json", Format.JSON),
        (b'\xef\xbb\xbf [{"a":1}]', "x", Format.JSON),
        (b'\xef\xbb\xbf{"a":1}', "x.jsonl", Format.NDJSON),
    ],
)
def test_which_json_it_is(read, data, name, kind):
    assert read(data, name).format is kind
