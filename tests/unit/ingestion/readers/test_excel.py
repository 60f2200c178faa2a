from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from servers.ingestion.errors import CorruptFile, EmptyFile, ErrorCell, FileTooLarge, InvalidReadOptions, MixedTypes, ValueDoesNotFit
from servers.ingestion.readers.options import Format, ReadLimits, ReadOptions
from tests.unit.ingestion.readers.workbooks import DATE, DURATION, MOMENT, XLS, boolean, error, number, ods, text, xlsx

HEADER = [text("A1", "a"), text("B1", "b")]


def test_the_types_of_cells(read):
    header = [text(f"{letter}1", letter.lower()) for letter in "ABCDEFG"]
    first = [
        number("A2", 1), number("B2", 1.5), text("C2", "00123"), boolean("D2", True),
        number("E2", 43831, DATE), number("F2", 43831.5, MOMENT), number("G2", 1.25, DURATION),
    ]  # fmt: skip
    second = [number("A3", 2), number("B3", 2)]
    found = read(xlsx({"S": {1: header, 2: first, 3: second}}), "x")
    assert found.format is Format.EXCEL
    assert found.table.to_pylist() == [
        {
            "a": 1, "b": 1.5, "c": "00123", "d": True, "e": datetime.date(2020, 1, 1), "f": datetime.datetime(2020, 1, 1, 12),
            "g": 30 * 3600 * 10**6,
        },
        {"a": 2, "b": 2.0, "c": None, "d": None, "e": None, "f": None, "g": None},
    ]  # fmt: skip
    assert [str(kind) for kind in found.table.schema.types] == [
        "int64",
        "double",
        "string",
        "bool",
        "date32[day]",
        "timestamp[us]",
        "int64",
    ]


def test_a_sheet_is_chosen_by_name(read):
    data = xlsx({"one": {1: [text("A1", "x")]}, "two": {1: [text("A1", "y")], 2: [number("A2", 5)]}})
    assert read(data).table.column_names == ["x"]
    assert read(data, options=ReadOptions(sheet="two")).table.to_pydict() == {"y": [5]}
    with pytest.raises(InvalidReadOptions, match="no sheet 'three'; sheets are 'one', 'two'"):
        read(data, options=ReadOptions(sheet="three"))


def test_rows_without_cells_are_left_out_and_lines_are_those_of_the_sheet(read):
    data = xlsx({"S": {3: [text("A3", "a"), text("B3", "b")], 5: [number("A5", 1)], 9: [text("A9", "x")]}})
    with pytest.raises(MixedTypes, match="line 9, column 'a': there is text where rows before have a whole number"):
        read(data)
    options = ReadOptions(column_types={"a": pa.string()})
    assert read(data, options=options).table.column("a").to_pylist() == ["1", "x"]
    with pytest.raises(ValueDoesNotFit, match="line 9, column 'a': 'x' does not fit int8"):
        read(data, options=ReadOptions(column_types={"a": pa.int8()}))


def test_without_a_header_and_after_rows_that_are_skipped(read):
    data = xlsx({"S": {1: [text("A1", "made by x")], 2: [number("A2", 1), number("B2", 2)]}})
    table = read(data, options=ReadOptions(has_header=False, skip_rows=1)).table
    assert table.to_pydict() == {"column_1": [1], "column_2": [2]}


def test_an_error_in_a_cell(read):
    with pytest.raises(ErrorCell, match="line 2, column 'B'"):
        read(xlsx({"S": {1: HEADER, 2: [number("A2", 1), error("B2", "#DIV/0!")]}}))
    assert read(xlsx({"S": {1: HEADER}, "T": {1: [error("A1", "#N/A")]}})).table.num_rows == 0


def test_cells_far_apart_do_not_take_the_memory_of_all_between(read):
    with pytest.raises(FileTooLarge, match="1048576 rows and 16384 columns"):
        read(xlsx({"S": {1: HEADER, 1_048_576: [number("XFD1048576", 1)]}}))


def test_xls_and_ods(read):
    assert read(XLS, "x.xls").table.to_pylist() == [{"a": 1, "column_2": True}]
    cell = '<table:table-cell office:value-type="string"><text:p>h</text:p></table:table-cell>'
    value = '<table:table-cell office:value-type="float" office:value="1.5"/>'
    rows = f'<table:table-row>{cell}</table:table-row><table:table-row table:number-rows-repeated="3">{value}</table:table-row>'
    empty = (
        '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    )
    assert read(ods(rows + empty), "x").table.to_pydict() == {"h": [1.5, 1.5, 1.5]}


def test_ods_that_would_take_too_much(read):
    value = '<table:table-cell office:value-type="float" office:value="1" table:number-columns-repeated="16384"/>'
    with pytest.raises(FileTooLarge, match="16384 columns"):
        read(ods(f'<table:table-row table:number-rows-repeated="1000000">{value}</table:table-row>'), "x")


def test_ods_with_an_error(read):
    cell = '<table:table-cell office:value-type="string" calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>'
    with pytest.raises(ErrorCell, match="line 1"):
        read(ods(f"<table:table-row>{cell}</table:table-row>"), "x")


def test_bad_workbooks(read):
    data = xlsx({"S": {1: HEADER}})
    with pytest.raises(CorruptFile):
        read(data[: len(data) // 2])
    with pytest.raises(EmptyFile, match="no row in the sheet"):
        read(xlsx({"S": {}}))
    with pytest.raises(FileTooLarge, match="2 columns"):
        read(data, limits=ReadLimits(max_columns=1))
