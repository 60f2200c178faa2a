"""Sheets of `.xlsx`, `.xls` and `.ods`. calamine reads a whole sheet into memory, so all rows are there to find types from."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import python_calamine as calamine

from servers.ingestion.errors import CorruptFile, EmptyFile, InvalidReadOptions, MixedTypes, ValueDoesNotFit, shown
from servers.ingestion.readers.batches import Source
from servers.ingestion.readers.columns import named, overrides
from servers.ingestion.readers.options import ReadLimits, ReadOptions
from servers.ingestion.readers.sheet_scan import scan
from servers.ingestion.readers.text_types import cast_text

_ROWS_AT_ONCE = 1024
_ZIP_MAGIC = b"PK"
_WHOLE_NUMBERS = 2**53
_EMPTY = ""

_PROBE_BYTES = 4 * 2**30
_PROBE_TIMEOUT_S = 60.0
# A refusal of calamine is no death: this process then hears it too, and tells it better.
_PROBE = """
import resource, sys
import python_calamine as calamine
path, sheet, memory = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
try:
    book = calamine.CalamineWorkbook.from_path(path)
    book.get_sheet_by_name(sheet or book.sheet_names[0])
except (calamine.CalamineError, IndexError):
    pass
"""

# In the order in which `isinstance` has to ask: bool is an int, datetime is a date.
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    datetime.datetime: "a time",
    datetime.date: "a date",
    datetime.time: "a time of day",
    datetime.timedelta: "a duration",
}
_TYPES = {
    "true or false": pa.bool_(),
    "a whole number": pa.int64(),
    "a number": pa.float64(),
    "text": pa.string(),
    "a time": pa.timestamp("us"),
    "a date": pa.date32(),
    "a time of day": pa.string(),
    "a duration": pa.int64(),
}
_WIDER = {frozenset({"a whole number", "a number"}): "a number", frozenset({"a date", "a time"}): "a time"}


def open_excel(path: Path, name: str, options: ReadOptions, limits: ReadLimits) -> Source:
    """Reads a sheet, and finds the types of its columns.

    Raises:
        InvalidFile: If it cannot be read; see `servers.ingestion.errors`.
        FileTooLarge: If the sheet is too large for memory.
    """
    if not path.stat().st_size:
        raise EmptyFile("the file has no bytes. Is the upload complete?", file=name)
    return _Sheet(path, name, options, limits).source()


class _Sheet:
    def __init__(self, path: Path, name: str, options: ReadOptions, limits: ReadLimits) -> None:
        self._name = name
        self._sheet = _loaded(path, name, options, limits)
        rows = self._numbered(options.skip_rows)
        _, first = next(rows, (0, None))
        if first is None:
            raise EmptyFile("there is no row in the sheet. Send one with at least a header", file=name)
        header = [_text(cell) or "" for cell in first] if options.has_header else []
        self._names, self._warnings = named(header, len(first), name, limits)
        self._skipped = options.skip_rows
        self._has_header = options.has_header
        self._wanted = overrides(self._names, options, name)

    def source(self) -> Source:
        kinds: list[str | None] = [None] * len(self._names)
        for line, row in self._rows():
            for index, cell in enumerate(row):
                if cell != _EMPTY and self._names[index] not in self._wanted:
                    kinds[index] = self._with(kinds[index], cell, line, self._names[index])
        types = [self._wanted.get(name, _TYPES[kind] if kind else pa.string()) for name, kind in zip(self._names, kinds, strict=True)]
        schema = pa.schema(list(zip(self._names, types, strict=True)))
        return Source(schema, lambda: self._batches(schema), tuple(self._warnings), is_plain=True)

    def _with(self, known: str | None, cell: Any, line: int, column: str) -> str:
        found = _kind(cell)
        if known is None or known == found:
            return found
        wider = _WIDER.get(frozenset({known, found}))
        if wider is None:
            hint = "Make them alike, or set `column_types` of the column to string"
            raise MixedTypes(f"there is {found} where rows before have {known}. {hint}", file=self._name, line=line, column=column)
        return wider

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = self._rows()
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            lines = [line for line, _ in some]
            columns = [self._column(field, [row[index] for _, row in some], lines) for index, field in enumerate(schema)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _column(self, field: pa.Field, cells: list[Any], lines: list[int]) -> pa.Array:
        values: list[Any] = [None if cell == _EMPTY else cell for cell in cells]
        if field.name in self._wanted or pa.types.is_string(field.type):
            texts = [_text(value) for value in values]
            try:
                return cast_text(pa.array(texts, pa.string()), field.type)
            except pa.ArrowException:
                index = next((index for index, text in enumerate(texts) if not _casts(text, field.type)), 0)
                text = f"{shown(texts[index])} does not fit {field.type} without loss. Correct it, or set `column_types` to string"
                raise ValueDoesNotFit(text, file=self._name, line=lines[index], column=field.name) from None
        if pa.types.is_timestamp(field.type):
            values = [datetime.datetime.combine(value, datetime.time()) if type(value) is datetime.date else value for value in values]
        elif pa.types.is_integer(field.type):
            values = [value // datetime.timedelta(microseconds=1) if isinstance(value, datetime.timedelta) else value for value in values]
        return pa.array(values, field.type)

    def _rows(self) -> Iterator[tuple[int, list[Any]]]:
        rows = self._numbered(self._skipped)
        if self._has_header:
            next(rows, None)
        return rows

    def _numbered(self, skipped: int) -> Iterator[tuple[int, list[Any]]]:
        """Rows that have something in them, each with its number in the sheet."""
        for line, row in enumerate(self._sheet.iter_rows(), start=1):
            if line > skipped and any(cell != _EMPTY for cell in row):
                yield line, row


def _loaded(path: Path, name: str, options: ReadOptions, limits: ReadLimits) -> Any:
    with path.open("rb") as file:
        is_zip = file.read(2) == _ZIP_MAGIC
    if is_zip:
        scan(path, name, options.sheet, limits)
    # No sheet has a NUL in its name, and no argument of a program.
    elif not _survives(path, "" if "\0" in options.sheet else options.sheet):
        raise CorruptFile("the spreadsheet is damaged, or is no .xls, or needs too much memory. Save it again as .xlsx", file=name)
    try:
        book = calamine.CalamineWorkbook.from_path(str(path))
        names = book.sheet_names
        if options.sheet and options.sheet not in names:
            known = ", ".join(map(shown, names[:20]))
            raise InvalidReadOptions(f"there is no sheet {shown(options.sheet)}; sheets are {known}", file=name)
        if not names:
            raise EmptyFile("the workbook has no sheet", file=name)
        return book.get_sheet_by_name(options.sheet or names[0])
    except calamine.PasswordError:
        raise CorruptFile("the workbook is protected by a password. Save it without one", file=name) from None
    except calamine.CalamineError:
        raise CorruptFile("the spreadsheet is damaged, cut off, or none at all. Save it again as .xlsx", file=name) from None
    except BaseException as error:
        # A panic of the Rust side is no `Exception`, so that nobody takes it for one by accident. Here a bad file causes it.
        if type(error).__name__ != "PanicException":
            raise
        raise CorruptFile("the spreadsheet is damaged. Save it again as .xlsx", file=name) from None


def _survives(path: Path, sheet: str) -> bool:
    """Whether a process of its own can read an `.xls` file: a damaged one can make calamine ask for so much memory that Rust aborts."""
    command = [sys.executable, "-I", "-c", _PROBE, str(path), sheet, str(_PROBE_BYTES)]
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=_PROBE_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _kind(cell: Any) -> str:
    kind = next(kind for known, kind in _KINDS.items() if isinstance(cell, known))
    # Sheets have floats alone.
    is_whole = kind == "a number" and float(cell).is_integer() and abs(cell) <= _WHOLE_NUMBERS
    return "a whole number" if is_whole else kind


def _text(cell: Any) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        return str(int(cell)) if _kind(cell) == "a whole number" else repr(cell)
    if isinstance(cell, datetime.timedelta):
        return str(cell // datetime.timedelta(microseconds=1))
    return str(cell.isoformat())


def _casts(text: str | None, target: pa.DataType) -> bool:
    try:
        cast_text(pa.array([text], pa.string()), target)
    except pa.ArrowException:
        return False
    return True
