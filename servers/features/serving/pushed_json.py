"""Values of pushed rows in JSON, read strictly as the types that the view declares: what ingestion would make of them, or refused.

| type | JSON |
|---|---|
| `bool` | true or false |
| integers | a whole number up to 2^53, or its digits in a text |
| floats | a number; the texts `NaN`, `Infinity` and `-Infinity` |
| `string` | a text |
| `bytes` | a text in base64 |
| `date` | a text such as `2026-11-27` |
| `timestamp` | a text such as `2026-11-27T09:30:00Z` (RFC 3339), at most with microseconds |
| decimals | a text such as `12.50` |
| lists | a list without nulls |
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Value

from servers.features.online import FeatureType, feature_type

__all__ = ["Read", "read_moment", "reader_of"]

Read = Callable[[Value], Any]
"""Returns a value as pyarrow takes it for the type. Raises ValueError, with what is wrong."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = 2**53
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DIGITS = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,60}(\.[0-9]{1,60})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6})0*)?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_LONGEST_SHOWN = 100
_DECIMALS = Context(prec=130)


def reader_of(its_type: FeatureType) -> Read:
    """Returns what reads values of a type."""
    if its_type.is_list:
        return _lists(its_type)
    if its_type.is_decimal:
        return _decimals(its_type)
    if its_type.name in ("float32", "float64"):
        return _floats(its_type.name)
    if its_type.dtype is not None and its_type.dtype.kind in "iu" and its_type.name.lstrip("u").startswith("int"):
        return _integers(its_type.name, its_type.dtype)
    return _READERS[its_type.name]


def read_moment(value: Value) -> int:
    """Returns a time, or midnight of a date in UTC, in microseconds since 1970-01-01 UTC."""
    if _DATE.fullmatch(value.string_value):
        return (_read_date(value) - _EPOCH.date()) // _MICROSECOND
    return _read_time(value)


def _shown(value: Value) -> str:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return repr(text[:_LONGEST_SHOWN]) + ("…" if len(text) > _LONGEST_SHOWN else "")
    if kind == "number_value":
        number = value.number_value
        return f"{number:.0f}" if number.is_integer() and abs(number) < _EXACT * 1024 else repr(number)
    return {"bool_value": str(value.bool_value).lower(), "list_value": "a list", "struct_value": "an object"}.get(kind or "", "nothing")


def _wanted(value: Value, kind: str, what: str) -> Any:
    if value.WhichOneof("kind") != kind:
        raise ValueError(f"{_shown(value)} is not {what}")
    return getattr(value, kind)


def _read_bool(value: Value) -> bool:
    return bool(_wanted(value, "bool_value", "true or false"))


def _read_string(value: Value) -> str:
    return str(_wanted(value, "string_value", "a text"))


def _read_bytes(value: Value) -> bytes:
    text = str(_wanted(value, "string_value", "a text in base64"))
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise ValueError(f"{_shown(value)} is not base64") from None


def _read_date(value: Value) -> date:
    text = str(_wanted(value, "string_value", "a date like '2026-11-27'"))
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{_shown(value)} is not a date like '2026-11-27'") from None


def _read_time(value: Value) -> int:
    what = "a time with its zone and at most microseconds, like '2026-11-27T09:30:00Z' (RFC 3339)"
    match = _TIME.fullmatch(str(_wanted(value, "string_value", what)))
    try:
        if match is None:
            raise ValueError
        zone = "+00:00" if match[4] in "Zz" else match[4]
        return (datetime.fromisoformat(f"{match[1]}T{match[2]}.{(match[3] or '').ljust(6, '0')}{zone}") - _EPOCH) // _MICROSECOND
    except ValueError:
        raise ValueError(f"{_shown(value)} is not {what}") from None


def _integers(name: str, dtype: np.dtype[Any]) -> Read:
    limits = np.iinfo(dtype)
    least, most = int(limits.min), int(limits.max)

    def read(value: Value) -> int:
        if value.WhichOneof("kind") == "string_value":
            if not _DIGITS.fullmatch(value.string_value):
                raise ValueError(f"{_shown(value)} is not a whole number")
            number = int(value.string_value)
        else:
            given = _wanted(value, "number_value", "a whole number")
            if not given.is_integer():
                raise ValueError(f"{_shown(value)} is not a whole number")
            if abs(given) > _EXACT:
                raise ValueError(f"{_shown(value)} is beyond 2^53, where JSON's numbers lose digits; give it as a text")
            number = int(given)
        if not least <= number <= most:
            raise ValueError(f"{number} is not within {name}: {least} to {most}")
        return number

    return read


def _floats(name: str) -> Read:
    def read(value: Value) -> float:
        if value.WhichOneof("kind") == "string_value" and value.string_value in _SPECIAL:
            return _SPECIAL[value.string_value]
        number = float(_wanted(value, "number_value", "a number"))
        if name == "float32" and math.isfinite(number):
            try:
                struct.pack("<f", number)
            except OverflowError:
                raise ValueError(f"{_shown(value)} is too large for float32") from None
        return number

    return read


def _decimals(its_type: FeatureType) -> Read:
    digits, scale = int(its_type.name.removeprefix("decimal(").partition(",")[0]), its_type.scale

    def read(value: Value) -> Decimal:
        text = str(_wanted(value, "string_value", "a decimal in a text, like '12.50'"))
        if not _DECIMAL.fullmatch(text):
            raise ValueError(f"{_shown(value)} is not a decimal like '12.50'")
        given = Decimal(text)
        kept = given.quantize(Decimal(1).scaleb(-scale), context=_DECIMALS)
        if kept != given or abs(kept).scaleb(scale, _DECIMALS) >= 10**digits:
            raise ValueError(f"{_shown(value)} has more digits than {its_type.name}")
        return kept

    return read


def _lists(its_type: FeatureType) -> Read:
    element = reader_of(feature_type(its_type.name.removeprefix("list<").removesuffix(">")))

    def read(value: Value) -> list[Any]:
        elements = _wanted(value, "list_value", "a list").values
        if any(each.WhichOneof("kind") == "null_value" for each in elements):
            raise ValueError("a null in a list is not kept")
        return [element(each) for each in elements]

    return read


_READERS: dict[str, Read] = {
    "bool": _read_bool,
    "string": _read_string,
    "bytes": _read_bytes,
    "date": _read_date,
    "timestamp": _read_time,
}
