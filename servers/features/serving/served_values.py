"""Columns of features as the messages of an answer have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.online import Column, FeatureType, Lists, Strings, python_values

__all__ = ["Fill", "add_times", "fill_of"]

Fill = Callable[[pb.Values, Column, bool], None]
"""Puts the values of a column into a message; the zero of the type where they are null. Told whether there are any nulls."""


def fill_of(feature_type: FeatureType) -> Fill:
    """Returns what puts values of a type into messages."""
    if feature_type.is_decimal:
        return _decimals
    if feature_type.is_list:
        return _lists
    return _FILLS[feature_type.name]


def add_times(target: Any, times_us: np.ndarray[Any, Any]) -> None:
    """Adds times to a repeated field of `google.protobuf.Timestamp`.

    Args:
        target: The field.
        times_us: `(rows,) int64`, microseconds since 1970-01-01 UTC.
    """
    for time_us in times_us.tolist():
        target.add(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1000)


def _plain(column: Column, has_nulls: bool) -> Any:
    """What stands under a null is anything where a vector was cut."""
    values: Any = column.values
    return np.where(column.is_null, np.zeros(1, values.dtype), values) if has_nulls else values


def _numbers(field: str) -> Fill:
    def fill(target: pb.Values, column: Column, has_nulls: bool) -> None:
        getattr(target, field).values.extend(_plain(column, has_nulls).tolist())

    return fill


def _texts(target: pb.Values, column: Column, has_nulls: bool) -> None:
    target.string_values.values.extend(str(piece, "utf-8") for piece in _pieces(column, has_nulls))


def _bytes(target: pb.Values, column: Column, has_nulls: bool) -> None:
    target.bytes_values.values.extend(_pieces(column, has_nulls))


def _pieces(column: Column, has_nulls: bool) -> list[bytes]:
    strings: Any = column.values
    pieces: list[bytes] = strings.pieces()
    return [b"" if null else piece for piece, null in zip(pieces, column.is_null.tolist(), strict=True)] if has_nulls else pieces


def _dates(target: pb.Values, column: Column, has_nulls: bool) -> None:
    # Python's calendar ends with the year 9999, and numpy's does not.
    days = _plain(column, has_nulls).astype("datetime64[D]")
    target.string_values.values.extend(np.datetime_as_string(days).tolist())


def _times(target: pb.Values, column: Column, has_nulls: bool) -> None:
    target.timestamp_values.SetInParent()
    add_times(target.timestamp_values.values, _plain(column, has_nulls))


def _decimals(target: pb.Values, column: Column, _has_nulls: bool) -> None:
    zero = f"{0:.{column.type.scale}f}"
    values = python_values(column)
    target.string_values.values.extend(zero if value is None else f"{value:f}" for value in values)


def _lists(target: pb.Values, column: Column, has_nulls: bool) -> None:
    lists: Any = _without_nulls(column) if has_nulls else column.values
    field = _ELEMENTS[column.type.name]
    found = target.list_values
    found.lengths.extend(np.diff(lists.offsets).tolist())
    elements = getattr(found, field)
    # Said even where all lists are empty: the kind of elements is the type's.
    elements.SetInParent()
    if isinstance(lists.elements, Strings):
        elements.values.extend(str(piece, "utf-8") for piece in lists.elements.pieces())
    else:
        elements.values.extend(lists.elements.tolist())


def _without_nulls(column: Column) -> Lists:
    """Empty lists where there is null."""
    lists: Any = column.values
    lengths = np.where(column.is_null, 0, np.diff(lists.offsets))
    kept = np.repeat(~column.is_null, np.diff(lists.offsets))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if isinstance(lists.elements, Strings):
        pieces = [piece for piece, is_kept in zip(lists.elements.pieces(), kept.tolist(), strict=True) if is_kept]
        return Lists(offsets, Strings.of(pieces))
    return Lists(offsets, lists.elements[kept])


_ELEMENTS = {
    "list<int64>": "int64_values",
    "list<float32>": "float_values",
    "list<float64>": "double_values",
    "list<string>": "string_values",
}
_FILLS: Mapping[str, Fill] = {
    "bool": _numbers("bool_values"),
    **{f"{sign}int{bits}": _numbers("int64_values") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "uint64": _numbers("uint64_values"),
    "float32": _numbers("float_values"),
    "float64": _numbers("double_values"),
    "string": _texts,
    "bytes": _bytes,
    "date": _dates,
    "timestamp": _times,
}
