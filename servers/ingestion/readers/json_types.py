"""Types of parsed JSON: the one type that holds what a field has in every row."""

from __future__ import annotations

from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa

from servers.ingestion.readers.columns import MAX_DEPTH
from servers.ingestion.readers.text_types import MAX_DIGITS

BIG_INTEGER = pa.decimal128(MAX_DIGITS, 0)
MAX_TEXT_DEPTH = 250
"""Most levels where they stay text; orjson writes no more than 254."""

_INT64 = range(-(2**63), 2**63)
_JSON_NAMES = {
    "bool": "true or false",
    "int64": "a whole number",
    "double": "a number",
    "string": "text",
    "list": "a list",
    "struct": "an object",
}


class Clash(Exception):
    """Two types that no column holds together.

    Args:
        known: What the field had before.
        found: What it has now.
        path: Names from the row down to the field.
    """

    def __init__(self, known: pa.DataType, found: pa.DataType, path: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.known = known
        self.found = found
        self.path = path


class LossyNumber:
    """A number with more digits than float64 keeps.

    Args:
        text: How it is written.
    """

    def __init__(self, text: str) -> None:
        self.text = text


class TooManyDigits(Exception):
    """A number that no type keeps.

    Args:
        text: How it is written.
        path: Names from the row down to the field.
    """

    def __init__(self, text: str, path: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.text = text
        self.path = path


class TooDeep(Exception):
    """Lists or objects within more than `MAX_DEPTH` others."""


def type_of(value: Any, path: tuple[str, ...] = ()) -> pa.DataType:
    """The type of one value.

    Raises:
        Clash: If the elements of a list have types that do not go together.
        TooManyDigits: If a number has more digits than its type would keep.
        TooDeep: If it is nested too deeply.
    """
    if len(path) > MAX_DEPTH:
        raise TooDeep
    if isinstance(value, dict):
        return pa.struct([(key, type_of(item, (*path, key))) for key, item in value.items()])
    if isinstance(value, list):
        element = pa.null()
        for item in value:
            element = joined(element, type_of(item, (*path, "[]")), (*path, "[]"))
        return pa.list_(element)
    if isinstance(value, LossyNumber):
        raise TooManyDigits(value.text, path)
    if isinstance(value, int) and not isinstance(value, bool):
        if value in _INT64:
            return pa.int64()
        if abs(value) >= 10**MAX_DIGITS:
            raise TooManyDigits(str(Decimal(value)), path)
        return BIG_INTEGER
    return {type(None): pa.null(), bool: pa.bool_(), float: pa.float64(), str: pa.string()}[type(value)]


def joined(first: pa.DataType, second: pa.DataType, path: tuple[str, ...] = ()) -> pa.DataType:
    """The type that holds the values of two types; fields of objects keep the order in which they came.

    Raises:
        Clash: If there is none.
    """
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        fields = {field.name: field.type for field in first}
        for field in second:
            known = fields.get(field.name)
            fields[field.name] = field.type if known is None else joined(known, field.type, (*path, field.name))
        return pa.struct(list(fields.items()))
    if pa.types.is_list(first) and pa.types.is_list(second):
        return pa.list_(joined(first.value_type, second.value_type, (*path, "[]")))
    numbers = {first, second}
    if numbers == {pa.int64(), pa.float64()}:
        return pa.float64()
    if numbers == {pa.int64(), BIG_INTEGER}:
        return BIG_INTEGER
    raise Clash(first, second, path)


def settled(given: pa.DataType) -> pa.DataType | None:
    """The type with text in place of what was null everywhere; None if an object never has a field."""
    if pa.types.is_null(given):
        return pa.string()
    if pa.types.is_struct(given):
        fields = [(field.name, settled(field.type)) for field in given]
        return pa.struct(fields) if fields and all(child for _, child in fields) else None
    if pa.types.is_list(given):
        element = settled(given.value_type)
        return pa.list_(element) if element else None
    return given


def field_count(given: pa.DataType) -> int:
    """Fields of a type, nested ones included."""
    if pa.types.is_struct(given):
        return sum(1 + field_count(field.type) for field in given)
    return field_count(given.value_type) if pa.types.is_list(given) else 0


def is_deeper(row: dict[str, Any], levels: int) -> bool:
    """Whether a row has more than so many levels of lists and objects, itself being the first. Recurses into none of them."""
    level: list[Any] = [row]
    for _ in range(levels):
        inner = chain.from_iterable(outer.values() if type(outer) is dict else outer for outer in level)
        level = [value for value in inner if type(value) in (dict, list)]
        if not level:
            return False
    return True


def json_name(given: pa.DataType) -> str:
    """How a message calls a type."""
    name = str(given).split("<", maxsplit=1)[0]
    return _JSON_NAMES.get(name, "a number" if name.startswith("decimal") else name)
