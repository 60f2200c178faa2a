"""Names of column types, as Arrow writes them, and the types themselves."""

from __future__ import annotations

import re
from typing import NoReturn

import pyarrow as pa

from servers.ingestion.errors import InvalidReadOptions, shown

_SIMPLE = {
    "string": pa.string(),
    "binary": pa.binary(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "float32": pa.float32(),
    "double": pa.float64(),
    "float64": pa.float64(),
    "date32": pa.date32(),
    "date32[day]": pa.date32(),
    "timestamp[us]": pa.timestamp("us"),
    "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
}
_ALLOWED = (
    "string, binary, bool, int8, int16, int32, int64, float32, float64, date32, timestamp[us], timestamp[us, tz=UTC], "
    "decimal128(precision, scale), list<item: type>, map<type, type> and struct<name: type, …>"
)
_DECIMAL = re.compile(r"decimal128\(([0-9]{1,2}), ?([0-9]{1,2})\)", re.ASCII)
_NESTED = re.compile(r"(list|map|struct)<(.*)>", re.ASCII | re.DOTALL)
_MOST_CHARACTERS = 10_000
_MOST_LEVELS = 16


def parsed_type(name: str, *, file: str, column: str) -> pa.DataType:
    """Returns the type that a name means: a type that tables hold, as `str(type)` writes it, or its usual other name.

    Args:
        name: Such as `int64`, `decimal128(10, 2)` or `list<item: double>`.
        file: The file that it is for, for the error.
        column: The column that it is for, for the error.

    Raises:
        InvalidReadOptions: INVALID_ARGUMENT: it is the name of no type that tables hold.
    """

    def refuse() -> NoReturn:
        raise InvalidReadOptions(f"`column_types` has {shown(name)}, which is no type; types are {_ALLOWED}", file=file, column=column)

    found = _type(name, 0) if len(name) <= _MOST_CHARACTERS else None
    return refuse() if found is None else found


def _type(name: str, level: int) -> pa.DataType | None:
    if name in _SIMPLE:
        return _SIMPLE[name]
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[1]), int(match[2])
        return pa.decimal128(precision, scale) if 1 <= precision <= 38 and scale <= precision else None
    match = _NESTED.fullmatch(name)
    if match is None or level == _MOST_LEVELS:
        return None
    parts = _parts(match[2])
    if match[1] == "map":
        inner = [_type(part, level + 1) for part in parts]
        return pa.map_(*inner) if len(inner) == 2 and None not in inner else None
    fields = [_field(part, level) for part in parts]
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None
    if match[1] == "list":
        return pa.list_(known[0].type) if len(known) == 1 and known[0].name in ("item", "element") else None
    return pa.struct(known) if len({field.name for field in known}) == len(known) else None


def _field(part: str, level: int) -> pa.Field | None:
    name, _, type_name = part.partition(": ")
    found = _type(type_name, level + 1)
    return pa.field(name, found) if name and found is not None else None


def _parts(inner: str) -> list[str]:
    """Splits at the commas that are in no brackets."""
    parts, depth, start = [], 0, 0
    for place, character in enumerate(inner):
        if character in "<([":
            depth += 1
        elif character in ">)]":
            depth -= 1
        elif character == "," and depth == 0 and inner[place + 1 : place + 2] == " ":
            parts.append(inner[start:place])
            start = place + 2
    return [*parts, inner[start:]]
