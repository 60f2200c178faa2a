"""Join keys and request inputs in Feast's JSON.

| type | JSON |
|---|---|
| `bool` | true or false |
| `int64` | a whole number, or its digits in a text |
| `float64` | a number; the texts `NaN`, `Infinity` and `-Infinity` |
| `string` | a text |
| `bytes` | a text in base64, as Feast writes them |
| `date` | a text such as `2026-11-27` |
| `timestamp` | seconds since 1970-01-01 UTC, or a text of ISO 8601, in UTC where it names no zone |
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.serving.errors import InvalidEntities

__all__ = ["read_json_column"]

_INT64 = range(-(1 << 63), 1 << 63)
_DIGITS = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SHOWN = 100


def read_json_column(name: str, its_type: str, values: list[Any]) -> pb.Values:
    """Returns the values of a column as `ServeFeatures` takes them.

    Args:
        name: Of the join key or request input.
        its_type: Its type.
        values: As JSON has them.

    Raises:
        InvalidEntities: INVALID_ARGUMENT: a value is not of the type.
    """
    kind, read = _KINDS[its_type]
    answer = pb.Values()
    target = getattr(answer, kind)
    target.SetInParent()
    row = 0
    try:
        for row, value in enumerate(values):  # noqa: B007
            target.values.append(read(value))
    except (ValueError, TypeError, OverflowError):
        raise InvalidEntities("entities", f"{name!r} is {its_type}; row {row} is {repr(value)[:_SHOWN]}, and is not") from None
    return answer


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _int64(value: Any) -> int:
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
    if type(number) is not int or number not in _INT64:
        raise TypeError
    return number


def _float64(value: Any) -> float:
    if isinstance(value, str):
        return _SPECIAL[value] if value in _SPECIAL else float("no number")
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_string(value), validate=True)


def _timestamp(value: Any) -> Timestamp:
    moment = Timestamp()
    if isinstance(value, str):
        given = datetime.fromisoformat(value)
        moment.FromDatetime(given if given.tzinfo is not None else given.replace(tzinfo=UTC))
    elif type(value) is int:
        moment.FromSeconds(value)
    else:
        moment.FromMicroseconds(round(_float64(value) * 1_000_000))
    return moment


_KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "bool": ("bool_values", _bool),
    "int64": ("int64_values", _int64),
    "float64": ("double_values", _float64),
    "string": ("string_values", _string),
    "bytes": ("bytes_values", _bytes),
    "date": ("string_values", _string),
    "timestamp": ("timestamp_values", _timestamp),
}
