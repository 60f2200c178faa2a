"""Which columns features and join keys can be read from.

Types of columns are texts as Arrow writes them: a server that defines features does not import pyarrow.
"""

from __future__ import annotations

import re

from servers.features.online import JoinKeyType

_SCALARS = {
    "bool": "bool",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "halffloat": "float32",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date",
    "string": "string",
    "large_string": "string",
    "string_view": "string",
    "binary": "bytes",
    "large_binary": "bytes",
    "binary_view": "bytes",
}
# Datasets have no integers without a sign: a column that a pipeline writes becomes this.
_UNSIGNED = {"uint8": "int16", "uint16": "int32", "uint32": "int64", "uint64": "int64"}
_ELEMENTS = {"float32": "list<float32>", "float64": "list<float64>", "string": "list<string>"}
_INTEGERS = ("int8", "int16", "int32", "int64")
_LIST = re.compile(r"(?:large_|fixed_size_)?list<[^:<>]*: (\w+)(?: not null)?>(?:\[\d+\])?", re.ASCII)
_DECIMAL = re.compile(r"decimal(?:32|64|128|256)?\((\d+), ?(\d+)\)", re.ASCII)
_DICTIONARY = re.compile(r"dictionary<values=(\w+), .*>", re.ASCII)
_INSTANT = re.compile(r"timestamp\[\w+, tz=[^\]]+\]")
_WALL_TIME = re.compile(r"timestamp\[\w+\]", re.ASCII)
_DECIMAL_DIGITS = 38
# What every value of the one type can be cast to, beside itself and wider integers.
_WIDER = {
    "int8": {"float32", "float64"},
    "int16": {"float32", "float64"},
    "int32": {"float64"},
    "float32": {"float64"},
    "list<float32>": {"list<float64>"},
}
# Rounding is what whoever declares these asks for.
_ROUNDED = {("float64", "float32"), ("list<float64>", "list<float32>")}
_KEYS = {
    JoinKeyType.BOOL: ("bool",),
    JoinKeyType.INT64: _INTEGERS,
    JoinKeyType.STRING: ("string",),
    JoinKeyType.BYTES: ("bytes",),
    JoinKeyType.DATE: ("date",),
    JoinKeyType.TIMESTAMP: ("timestamp",),
}

UNKNOWN = "null"
"""Type of a column that has had no values yet."""


def type_of_column(arrow_type: str) -> str | None:
    """Returns the name of the type that a feature has which is a column; None where no feature can be.

    A list of small integers becomes a list of int64.
    """
    if (known := _SCALARS.get(arrow_type) or _UNSIGNED.get(arrow_type)) is not None:
        return known
    if _INSTANT.fullmatch(arrow_type):
        return "timestamp"
    if match := _DECIMAL.fullmatch(arrow_type):
        digits, scale = int(match[1]), int(match[2])
        return f"decimal({digits}, {scale})" if 1 <= digits <= _DECIMAL_DIGITS and scale <= digits else None
    if match := _LIST.fullmatch(arrow_type):
        element = type_of_column(match[1]) or ""
        return "list<int64>" if element in _INTEGERS else _ELEMENTS.get(element)
    match = _DICTIONARY.fullmatch(arrow_type)
    return type_of_column(match[1]) if match else None


def stored_type(feature_type: str) -> str:
    """Returns the type of a feature as a dataset keeps it."""
    return _UNSIGNED.get(feature_type, feature_type)


def can_be(arrow_type: str, feature_type: str) -> bool:
    """Says whether every value of a column is a value of a feature's type; to less precise floats they are rounded."""
    given = type_of_column(arrow_type)
    return arrow_type == UNKNOWN or (given is not None and (holds(feature_type, given) or (given, feature_type) in _ROUNDED))


def holds(wide: str, narrow: str) -> bool:
    """Says whether a type of features has every value of another one."""
    if wide == narrow or wide in _WIDER.get(narrow, ()):
        return True
    if wide in _INTEGERS and narrow in _INTEGERS:
        return _INTEGERS.index(wide) >= _INTEGERS.index(narrow)
    wider, narrower = _DECIMAL.fullmatch(wide), _DECIMAL.fullmatch(narrow)
    if wider is None or narrower is None:
        return False
    more_behind = int(wider[2]) - int(narrower[2])
    return more_behind >= 0 and int(wider[1]) - int(narrower[1]) >= more_behind


def can_be_key(arrow_type: str, join_key_type: JoinKeyType) -> bool:
    """Says whether the values of a column are values of a join key."""
    return type_of_column(arrow_type) in _KEYS[join_key_type]


def is_moment(arrow_type: str) -> bool:
    """Says whether a column has days or times; those without a zone are taken for UTC."""
    return type_of_column(arrow_type) in ("date", "timestamp") or is_wall_time(arrow_type)


def is_wall_time(arrow_type: str) -> bool:
    """Says whether a column has times without a zone."""
    return _WALL_TIME.fullmatch(arrow_type) is not None
