"""Names of columns, and the types that a caller wants for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from servers.ingestion.errors import FileTooLarge, InvalidHeader, InvalidReadOptions, UnsupportedColumnType, shown
from servers.ingestion.readers.options import ReadLimits, ReadOptions
from servers.ingestion.readers.plain_types import plain_type

MAX_DEPTH = 64
"""Most levels of lists, structs and maps, a row being the first; every one of them is a level of recursion for whoever reads the table."""


def named(header: Sequence[str], width: int, name: str, limits: ReadLimits) -> tuple[list[str], list[str]]:
    """Names every column by its header; a column without one is called after its place, `column_3`, and there is a warning.

    Raises:
        InvalidHeader: If two columns have one name.
        FileTooLarge: If there are too many columns.
    """
    check_width(width, name, limits)
    names = [text or f"column_{index}" for index, text in enumerate(header or [""] * width, start=1)]
    check_names(names, name)
    warnings = [
        f"column {index} has no name in the header and is called {names[index - 1]!r}" for index, text in enumerate(header, 1) if not text
    ]
    return names, warnings


def check_names(names: Sequence[str], name: str) -> None:
    """Refuses names that are there twice, or are empty.

    Raises:
        InvalidHeader: If there is one.
    """
    places: dict[str, int] = {}
    for index, column in enumerate(names, start=1):
        if not column or "\0" in column:
            raise InvalidHeader(f"column {index} has no name, or one with a NUL character. Give it another", file=name)
        if column in places:
            text = f"columns {places[column]} and {index} are both called {shown(column)}. Give each a name of its own"
            raise InvalidHeader(text, file=name, column=column)
        places[column] = index


def check_names_within(columns: Iterable[pa.Field], name: str) -> None:
    """Refuses names within columns that no table tells apart, as case does not count, or that have a NUL.

    Raises:
        InvalidHeader: If there is one; names the path down to it.
    """
    for field in columns:
        _check_within(field.type, field.name, name)


def _check_within(given: pa.DataType, path: str, name: str) -> None:
    if not pa.types.is_nested(given):
        return
    seen: dict[str, str] = {}
    for place in range(given.num_fields):
        field = given.field(place)
        inner = path
        if pa.types.is_struct(given):
            inner = f"{path}.{field.name}"
            if "\0" in field.name:
                raise InvalidHeader("the name has a NUL character. Give it another", file=name, column=inner)
            folded = field.name.casefold()
            if folded in seen:
                text = f"{shown(seen[folded])} beside it has the same name, as case does not count. Give each a name of its own"
                raise InvalidHeader(text, file=name, column=inner)
            seen[folded] = field.name
        _check_within(field.type, inner, name)


def check_depth(schema: pa.Schema, name: str) -> None:
    """Refuses columns with too many lists, structs and maps within each other. Recurses into none of them.

    Raises:
        UnsupportedColumnType: If there is one.
    """
    for column in schema:
        level = [column.type]
        for _ in range(MAX_DEPTH):
            nested = [given for given in level if pa.types.is_nested(given)]
            level = [given.field(place).type for given in nested for place in range(given.num_fields)]
        if level:
            text = f"lists, structs and maps are nested more than {MAX_DEPTH} levels deep, which is the limit. Flatten them"
            raise UnsupportedColumnType(text, file=name, column=column.name)


def check_width(width: int, name: str, limits: ReadLimits) -> None:
    """Refuses too many columns.

    Raises:
        FileTooLarge: If there are more than allowed.
    """
    if width > limits.max_columns:
        raise FileTooLarge(
            f"there are {width} columns; at most {limits.max_columns} are allowed. Split the table, or use a list column", file=name
        )


def overrides(names: Sequence[str], options: ReadOptions, name: str) -> Mapping[str, pa.DataType]:
    """The types that the caller wants, checked against the columns there are.

    Raises:
        InvalidReadOptions: If a column is not there, or a type is none that tables hold.
    """
    for column, wanted in options.column_types.items():
        if column not in names:
            known = ", ".join(map(shown, names[:20])) + (", …" if len(names) > 20 else "")
            raise InvalidReadOptions(f"`column_types` names a column that is not there; columns are {known}", file=name, column=column)
        if plain_type(wanted) != wanted:
            allowed = "string, binary, int8 to int64, float32, float64, bool, date32, timestamp[us] with or without UTC, decimal128"
            allowed = f"{allowed}, and list, struct and map of these"
            raise InvalidReadOptions(f"`column_types` has {wanted}; types are {allowed}", file=name, column=column)
    return options.column_types
