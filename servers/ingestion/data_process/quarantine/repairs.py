"""Values of JSON that take the place of a row's own."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyarrow import types

from servers.ingestion.tables.lossless import fit


def repaired(value: Any, column_type: pa.DataType | None) -> pa.Array:
    """Returns a value as a column of one row.

    Bytes, lists, maps and structs are read as lists of rows show them, if the dataset's column has such a type and the value is one. All
    else stays what JSON says that it is: whether it fits its column is judged where it is written, as that of any other row.

    Args:
        value: Of JSON.
        column_type: Of the dataset's column; None where it has none of this name.
    """
    if value is None:
        return pa.nulls(1, column_type or pa.null())
    if column_type is not None and (types.is_nested(column_type) or types.is_binary(column_type)):
        try:
            return pa.array([_value(value, column_type)], column_type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, KeyError):
            pass
    try:
        return pa.array([value])
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        # Lists of different things.
        return pa.array([str(value)])


def _value(value: Any, column_type: pa.DataType) -> Any:
    """A value as Arrow takes it for a type that it cannot find out by itself."""
    if value is None:
        return None
    if types.is_binary(column_type):
        return _bytes(value)
    if types.is_list(column_type):
        return [_value(entry, column_type.value_type) for entry in _checked(value, list)]
    if types.is_map(column_type):
        entries = [_checked(entry, dict) for entry in _checked(value, list)]
        return [(_value(entry["key"], column_type.key_type), _value(entry["value"], column_type.item_type)) for entry in entries]
    if types.is_struct(column_type):
        fields = _checked(value, dict)
        if unknown := fields.keys() - {field.name for field in column_type}:
            raise KeyError(unknown)
        return {field.name: _value(fields.get(field.name), field.type) for field in column_type}
    # Numbers that JSON cannot hold, and times, are text.
    fitted = fit(pa.array([value]), column_type)
    if fitted.misfits is not None:
        raise ValueError(value)
    return fitted.values[0]


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_checked(value, str), validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _checked(value: Any, kind: type[Any]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(value)
    return value


def repairs_by_id(repairs: Any) -> Mapping[str, Mapping[str, Any]]:
    """Returns the values of each row by its id."""
    return {repair["id"]: repair["values"] for repair in repairs or ()}
