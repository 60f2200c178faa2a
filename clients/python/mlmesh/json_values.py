"""JSON values as text, and in protobuf's `Struct`, to and fro. A struct's numbers are doubles: what would lose digits is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from math import isfinite
from numbers import Integral, Rational, Real
from typing import Any

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

_LARGEST_EXACT = 2**53
_MOST_DIGITS = 38
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# A level is three messages deep, and protobuf reads a hundred.
_DEEPEST = 30
_AS_NDJSON = "send the rows as bytes of NDJSON, which keep every digit: data, with name='rows.ndjson'"


class NotJson(ValueError):
    """A value has no place in JSON, or would lose digits there.

    Args:
        problem: What is wrong with it.
        hint: What to do about it, where the value is one of a row.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self._steps: list[str] = []

    @property
    def path(self) -> str:
        """Where the value stands: `price`, `stops[2].name`; empty where it is the whole."""
        return "".join(reversed(self._steps)).removeprefix(".")

    def within(self, step: str) -> NotJson:
        """Notes that the value stands below another one."""
        self._steps.append(step)
        return self


def fill_struct(struct: Struct, mapping: Mapping[Any, Any]) -> None:
    """Puts the entries of a mapping into an empty struct.

    Dates and times become ISO 8601 text.

    Args:
        struct: The struct.
        mapping: Its entries.

    Raises:
        NotJson: A value has no place in JSON, or would lose digits there.
    """
    for key, value in _object(mapping, 1, _whole_in_struct).items():
        _fill(struct.fields[key], value)


def json_line(row: Mapping[Any, Any]) -> bytes:
    """Returns a row as a line of NDJSON: its columns in their order, its whole numbers with all digits.

    Dates and times become ISO 8601 text, and numbers without a fraction whole numbers, as in a struct.

    Args:
        row: The row.

    Raises:
        NotJson: A value has no place in JSON, or would lose digits there.
    """
    return _ENCODER.encode(_object(row, 1, _whole)).encode() + b"\n"


def plain_struct(struct: Struct) -> dict[str, Any]:
    """Returns the entries of a struct as JSON has them."""
    return {key: plain_value(value) for key, value in struct.fields.items()}


def plain_value(value: Value) -> Any:
    """Returns a value as JSON has it; a number without a fraction as int."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain_struct(value.struct_value)
        case "list_value":
            return [plain_value(one) for one in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _LARGEST_EXACT else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _fill(target: Value, value: Any) -> None:
    if value is None:
        target.null_value = NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        for key, entry in value.items():
            _fill(target.struct_value.fields[key], entry)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for entry in value:
            _fill(target.list_value.values.add(), entry)
    else:
        target.number_value = value


def _plain(value: Any, depth: int, whole: Callable[[int], int]) -> Any:
    """A value as JSON has it; `whole` checks whole numbers."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Integral):
        return whole(int(value))
    if isinstance(value, Real) and not isinstance(value, Rational):
        return _floating(float(value))
    if isinstance(value, date | time):
        return _moment(value)
    if isinstance(value, Mapping):
        return _object(value, depth + 1, whole)
    if isinstance(value, list | tuple):
        return _list(value, depth + 1, whole)
    raise _refusal(value)


def _object(mapping: Mapping[Any, Any], depth: int, whole: Callable[[int], int]) -> dict[str, Any]:
    _check_depth(depth)
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str):
            raise NotJson(f"has the key {key!r}, which is not text", "name columns and fields by text")
        try:
            key.encode()
            found[key] = _plain(value, depth, whole)
        except NotJson as error:
            raise error.within(f".{key}") from None
        except UnicodeEncodeError:
            raise NotJson(f"has the key {key!r}, which is not Unicode text", "remove the lone surrogate").within(f".{key!a}") from None
    return found


def _list(values: list[Any] | tuple[Any, ...], depth: int, whole: Callable[[int], int]) -> list[Any]:
    _check_depth(depth)
    found = []
    for position, value in enumerate(values):
        try:
            found.append(_plain(value, depth, whole))
        except NotJson as error:
            raise error.within(f"[{position}]") from None
    return found


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise NotJson(f"is nested more than {_DEEPEST} levels deep", _AS_NDJSON)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotJson("is not Unicode text", "remove the lone surrogate, or send bytes of a file with its encoding") from None
    return value


def _whole_in_struct(value: int) -> int:
    if abs(value) > _LARGEST_EXACT:
        raise NotJson(f"{value if abs(value) < 10**40 else 'the number'} is beyond 2^53, where JSON here loses digits", _AS_NDJSON)
    return value


def _whole(value: int) -> int:
    if abs(value) >= 10**_MOST_DIGITS:
        raise NotJson(f"is a whole number of more than {_MOST_DIGITS} digits, which no column holds", "give it as text")
    return value


def _floating(value: float) -> float | int:
    if not isfinite(value):
        raise NotJson(f"{value} is no number that JSON has", "give None where there is no value")
    return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXACT else value


def _moment(value: date | time) -> str:
    # The NaT of pandas is a datetime, and unlike itself.
    if value != value:
        raise NotJson(f"{value} is no moment", "give None where there is no value")
    return value.isoformat()


def _refusal(value: Any) -> NotJson:
    if isinstance(value, Decimal):
        hint = "send the rows as Parquet, or as text and ReadOptions(column_types={column: 'decimal128(10, 2)'})"
        return NotJson(f"{value} is a Decimal, which JSON would make a float", hint)
    if isinstance(value, bytes | bytearray | memoryview):
        return NotJson("is bytes, which JSON does not have", "give text, for example base64")
    hint = "give None, bool, int, float, str, a date, a list or a mapping"
    return NotJson(f"is a {type(value).__name__}, which JSON does not have", hint)
