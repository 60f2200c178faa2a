"""JSON rows, one object a line or in one array, in two passes: the first finds the type of every field from all rows, the second reads.

Arrow's JSON reader takes types from the first block, turns long numbers into floats, and tells neither line nor value when a later row
differs. So orjson parses, and Arrow builds columns of the types that were found. Text becomes a date or a timestamp where every value
of a top-level field is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from servers.ingestion.errors import (
    EmptyFile,
    FileTooLarge,
    InvalidJson,
    MixedTypes,
    UnsupportedColumnType,
    ValueDoesNotFit,
    shown,
)
from servers.ingestion.readers.batches import Source
from servers.ingestion.readers.byte_streams import BLOCK_BYTES, InflatedBytes, open_bytes
from servers.ingestion.readers.columns import MAX_DEPTH, check_names, check_width, overrides
from servers.ingestion.readers.json_array import ObjectTexts, array_place, objects
from servers.ingestion.readers.json_types import (
    MAX_TEXT_DEPTH,
    Clash,
    LossyNumber,
    TooDeep,
    TooManyDigits,
    field_count,
    is_deeper,
    joined,
    json_name,
    settled,
    type_of,
)
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from servers.ingestion.readers.text_types import TIME_KINDS, TextColumn, cast_text, first_unfit, keeps_number, keeps_numbers

_ROWS_PER_LOOK = 512
_BYTES_PER_VALUE = 16

# Numbers are found by their shape, which is much faster than a regular expression: all digits alike, then a search for bytes.
_SHAPES = bytes.maketrans(b"123456789.E+", b"0000000000e-")
_LONG_SHAPE = b"0" * 16
_EXPONENT_SHAPES = (b"e000", b"e-000")
_NUMBERS_ONLY = bytes(code if chr(code) in "0123456789.eE+-" else ord(" ") for code in range(256))
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SHORTEST_OVERFLOW = len("1e100")
_DIGITS_OF_EVERY_INT64 = 18


class Rows(NamedTuple):
    """Parsed rows, their text, and the line on which each begins."""

    values: list[dict[str, Any]]
    texts: list[bytes]
    lines: list[int]


class _Verbatim(str):
    """A number as it is written."""

    __slots__ = ()


def open_json(path: Path, name: str, kind: Format, compression: Compression, options: ReadOptions, limits: ReadLimits) -> Source:
    """Finds the types of a JSON or NDJSON file.

    Raises:
        InvalidFile: If it is no list of objects; see `servers.ingestion.errors`.
    """

    def opened() -> AbstractContextManager[InflatedBytes]:
        return open_bytes(path, name, compression, limits)

    if kind is Format.NDJSON:

        def texts() -> Iterator[ObjectTexts]:
            with opened() as source:
                yield from _lines(source, name, limits)

    else:
        with opened() as source:
            place = array_place(source, options.json_path, name, limits)

        def texts() -> Iterator[ObjectTexts]:
            with opened() as source:
                yield from objects(source, place, name, limits)

    return _JsonRows(texts, name, options, limits).source()


class _JsonRows:
    def __init__(self, texts: Callable[[], Iterator[ObjectTexts]], name: str, options: ReadOptions, limits: ReadLimits) -> None:
        self._texts = texts
        self._name = name
        self._options = options
        self._limits = limits
        self._found = pa.struct([])
        self._times: dict[str, TextColumn] = {}
        self._names: dict[str, None] = {}
        self._saw_all = True

    def source(self) -> Source:
        rows_left = self._limits.inference_rows or None
        for rows in self._parsed(_ROWS_PER_LOOK):
            if rows_left is not None:
                self._saw_all = len(rows.values) <= rows_left
                rows = _part(rows, 0, rows_left)
                rows_left -= len(rows.values)
            self._look_at(rows)
            if not self._saw_all:
                break
        if not self._names:
            raise EmptyFile("there is no row with a field, so there are no columns. Send at least one", file=self._name)
        names = list(self._names)
        check_names(names, self._name)
        wanted = overrides(names, self._options, self._name)
        read_as = {field.name: self._settled(field) for field in self._found}
        types = [wanted[name] if name in wanted else self._final(name, read_as[name]) for name in names]
        schema = pa.schema(list(zip(names, types, strict=True)))
        return Source(schema, lambda: self._batches(schema, read_as), is_plain=True)

    def _settled(self, field: pa.Field) -> pa.DataType:
        known = settled(field.type)
        if known is None:
            text = "it has nothing but empty objects, which no table holds. Set `column_types` to string to keep them as JSON text"
            raise UnsupportedColumnType(text, file=self._name, column=field.name)
        return known

    def _final(self, name: str, read_as: pa.DataType) -> pa.DataType:
        return self._times[name].type if pa.types.is_string(read_as) and name in self._times else read_as

    def _look_at(self, rows: Rows) -> None:
        self._names.update(dict.fromkeys(chain.from_iterable(rows.values)))
        check_width(len(self._names), self._name, self._limits)
        values = self._without_overrides(rows.values)
        if self._options.column_types:
            self._check_depth(values, rows.texts, rows.lines, MAX_DEPTH)
        try:
            array = pa.array(values)
            hides_booleans = _has_booleans(rows.texts) and any(_may_hide_booleans(field, values) for field in array.type)
            found = self._found_slowly(values, rows.lines) if hides_booleans else joined(self._found, array.type)
        except (Clash, pa.ArrowException, OverflowError, TypeError, ValueError):
            found, array = self._found_slowly(values, rows.lines), None
        check_width(field_count(found), self._name, self._limits)
        self._found = found
        for field in found:
            if pa.types.is_string(field.type):
                self._look_at_times(field.name, values, array)

    def _look_at_times(self, name: str, values: list[dict[str, Any]], array: Any) -> None:
        column = self._times.setdefault(name, TextColumn(kinds=TIME_KINDS))
        if column.is_settled:
            return
        if array is not None and array.type.get_field_index(name) >= 0:
            texts = array.field(name)
            if pa.types.is_string(texts.type):
                column.add(texts)
            return
        column.add(pa.array([row.get(name) for row in values], pa.string()))

    def _found_slowly(self, values: list[dict[str, Any]], lines: list[int]) -> pa.DataType:
        """The same as Arrow's inference, and names the place where it fails."""
        found = self._found
        for row, line in zip(values, lines, strict=True):
            try:
                found = joined(found, type_of(row))
            except Clash as clash:
                text = f"there is {json_name(clash.found)} where rows before have {json_name(clash.known)}"
                hint = "Make them alike, or set `column_types` of the column to string to keep both as text"
                raise MixedTypes(f"{text}. {hint}", file=self._name, line=line, column=_dotted(clash.path)) from None
            except TooManyDigits as error:
                text = f"{shown(error.text)} has more digits than a number keeps".replace("'", "")
                hint = "Set `column_types` of the column to decimal128 or string to keep them, or to float64 to round"
                raise ValueDoesNotFit(f"{text}. {hint}", file=self._name, line=line, column=_dotted(error.path)) from None
        return found

    def _check_depth(self, values: list[dict[str, Any]], texts: list[bytes], lines: list[int], levels: int) -> None:
        for value, text, line in zip(values, texts, lines, strict=True):
            if text.count(b"[") + text.count(b"{") > levels and is_deeper(value, levels):
                message = f"lists and objects are nested more than {levels} levels deep, which is the limit"
                raise InvalidJson(message, file=self._name, line=line)

    def _without_overrides(self, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = self._options.column_types
        return [{key: value for key, value in row.items() if key not in wanted} for row in values] if wanted else values

    def _batches(self, schema: pa.Schema, read_as: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        row_type = pa.struct(list(read_as.items()))
        # A narrow row of a wide table takes room for every column.
        at_once = max(1, self._limits.batch_bytes // (_BYTES_PER_VALUE * max(1, field_count(row_type) + len(schema))))
        for rows in self._parsed(min(at_once, self._limits.batch_rows)):
            if not self._saw_all:
                self._check_known(rows, row_type)
            array = self._built(self._without_overrides(rows.values), row_type, rows.lines)
            columns = [self._column(field, array, rows) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _check_known(self, rows: Rows, row_type: pa.DataType) -> None:
        """Refuses what differs from the rows that the types come from."""
        for row, line in zip(self._without_overrides(rows.values), rows.lines, strict=True):
            for key, value in row.items():
                index = row_type.get_field_index(key)
                try:
                    is_known = index >= 0 and joined(row_type[index].type, type_of(value)) == row_type[index].type
                except (Clash, TooManyDigits, TooDeep):
                    is_known = False
                if not is_known:
                    hint = f"Types come from the first {self._limits.inference_rows} rows; name this one in `column_types`"
                    raise ValueDoesNotFit(f"{shown(value)} is new or of another type. {hint}", file=self._name, line=line, column=key)

    def _built(self, values: list[dict[str, Any]], row_type: pa.DataType, lines: list[int]) -> pa.Array:
        def fits(part: list[dict[str, Any]]) -> bool:
            try:
                pa.array(part, row_type)
            except (pa.ArrowException, OverflowError, TypeError, ValueError):
                return False
            return True

        try:
            return pa.array(values, row_type)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            index = next(index for index, row in enumerate(values) if not fits([row]))
            column = next(key for key, value in values[index].items() if not fits([{key: value}]))
            raise self._unfit(values[index][column], row_type.field(column).type, lines[index], column) from None

    def _column(self, field: pa.Field, array: pa.StructArray, rows: Rows) -> pa.Array:
        if field.name in self._options.column_types:
            return self._overridden(field, rows)
        values = array.field(field.name)
        return values if values.type == field.type else self._cast(values, field, rows.lines, is_time=True)

    def _overridden(self, field: pa.Field, rows: Rows) -> pa.Array:
        if pa.types.is_nested(field.type):
            values = [row.get(field.name) for row in rows.values]
            for value, line in zip(values, rows.lines, strict=True):
                try:
                    pa.array([value], field.type)
                except (pa.ArrowException, OverflowError, TypeError, ValueError):
                    raise self._unfit(value, field.type, line, field.name) from None
            return pa.array(values, field.type)
        texts = [_as_text(text, row, field.name) for text, row in zip(rows.texts, rows.values, strict=True)]
        return self._cast(pa.array(texts, pa.string()), field, rows.lines, is_time=False)

    def _cast(self, values: pa.Array, field: pa.Field, lines: list[int], *, is_time: bool) -> pa.Array:
        def fits(part: pa.Array) -> bool:
            try:
                cast_text(part, field.type)
            except pa.ArrowException:
                return False
            if self._saw_all or not is_time:
                return True
            column = self._times[field.name].copy()
            column.add(part)
            return bool(column.type == field.type)

        if not fits(values):
            index = first_unfit(values, fits)
            raise self._unfit(values[index].as_py(), field.type, lines[index], field.name)
        return cast_text(values, field.type)

    def _unfit(self, value: object, target: pa.DataType, line: int, column: str) -> ValueDoesNotFit:
        hint = "Correct the value, or set `column_types` of the column to a type that holds it, such as string"
        return ValueDoesNotFit(f"{shown(value)} does not fit {target} without loss. {hint}", file=self._name, line=line, column=column)

    def _parsed(self, rows_at_once: int) -> Iterator[Rows]:
        for texts, lines in self._texts():
            for start in range(0, len(texts), rows_at_once):
                part = slice(start, start + rows_at_once)
                yield Rows(self._parse(texts[part], lines[part]), texts[part], lines[part])

    def _parse(self, texts: list[bytes], lines: list[int]) -> list[dict[str, Any]]:
        try:
            values = list(map(orjson.loads, texts))
        except orjson.JSONDecodeError:
            raise self._not_json(texts, lines) from None
        for value, line in zip(values, lines, strict=True):
            if type(value) is not dict:
                raise InvalidJson(f'every row is an object, such as {{"a": 1}}; got {shown(value)}', file=self._name, line=line)
        # A column that stays text may be deeper.
        self._check_depth(values, texts, lines, MAX_TEXT_DEPTH if self._options.column_types else MAX_DEPTH)
        if not keeps_digits(b"\n".join(texts)):
            values = [value if keeps_digits(text) else exact_row(text) for text, value in zip(texts, values, strict=True)]
        return values

    def _not_json(self, texts: list[bytes], lines: list[int]) -> InvalidJson:
        for text, line in zip(texts, lines, strict=True):
            try:
                orjson.loads(text)
            except orjson.JSONDecodeError as error:
                hint = ". JSON has no NaN: write null" if b"NaN" in text else ""
                is_within = error.lineno - 1
                return InvalidJson(f"not valid JSON: {error.msg} (character {error.colno}){hint}", file=self._name, line=line + is_within)
        return InvalidJson("not valid JSON", file=self._name)


def _lines(source: InflatedBytes, name: str, limits: ReadLimits) -> Iterator[ObjectTexts]:
    rest, first, is_at_end = source.read(BLOCK_BYTES).removeprefix(b"\xef\xbb\xbf"), 1, False
    while not is_at_end:
        more = source.read(BLOCK_BYTES)
        is_at_end = not more
        lines = (rest + more).split(b"\n")
        rest = b"" if is_at_end else lines.pop()
        if len(rest) > limits.max_cell_bytes:
            text = f"the line has more than {limits.max_cell_bytes} bytes, which is the limit. If it is one array, set `format` to JSON"
            raise FileTooLarge(text, file=name, line=first + len(lines))
        kept = [(text, line) for line, text in enumerate(lines, start=first) if text and not text.isspace()]
        first += len(lines)
        if kept:
            yield ObjectTexts([text for text, _ in kept], [line for _, line in kept])


def _part(rows: Rows, start: int, size: int) -> Rows:
    part = slice(start, start + size)
    return Rows(rows.values[part], rows.texts[part], rows.lines[part])


def keeps_digits(text: bytes) -> bool:
    """Whether orjson keeps every number in a text as it is written. Digits in strings may make this false for nothing."""
    shapes = text.translate(_SHAPES)
    has_exponents = any(shape in shapes for shape in _EXPONENT_SHAPES)
    if not has_exponents and _LONG_SHAPE not in shapes:
        return True
    shortest = _SHORTEST_OVERFLOW if has_exponents else len(_LONG_SHAPE)
    doubtful = [word for word in text.translate(_NUMBERS_ONLY).split() if len(word) >= shortest]
    numbers = [word.decode() for word in doubtful if (len(word) > _DIGITS_OF_EVERY_INT64 or not word.isdigit()) and _NUMBER.fullmatch(word)]
    # An integer above 64 bits comes as a float, even one that a float keeps, such as 10 to the power of 20.
    return not any(_is_large_integer(number) for number in numbers) and (not numbers or keeps_numbers(numbers))


def _is_large_integer(number: str) -> bool:
    return len(number) > _DIGITS_OF_EVERY_INT64 + number.startswith("-") and number.removeprefix("-").isdigit()


def _has_floats(given: pa.DataType) -> bool:
    if pa.types.is_struct(given):
        return any(_has_floats(field.type) for field in given)
    return _has_floats(given.value_type) if pa.types.is_list(given) else bool(pa.types.is_floating(given))


def _may_hide_booleans(field: pa.Field, values: list[dict[str, Any]]) -> bool:
    """Whether there may be true or false among the floats of a field: Arrow takes them for 1.0 and 0.0."""
    if pa.types.is_floating(field.type):
        return bool in {type(row.get(field.name)) for row in values}
    return _has_floats(field.type)


def _has_booleans(texts: list[bytes]) -> bool:
    return any(b"true" in text or b"false" in text for text in texts)


def exact_row(text: bytes) -> dict[str, Any]:
    """Parses an object with numbers that orjson would round; those that no float keeps come as `LossyNumber`."""
    row: dict[str, Any] = json.loads(text, parse_float=lambda number: float(number) if keeps_number(number) else LossyNumber(number))
    return row


def _as_text(text: bytes, row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(orjson.loads(text)[key]).decode()
    return str(json.loads(text, parse_float=_Verbatim, parse_int=_Verbatim)[key])


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]")
