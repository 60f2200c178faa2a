"""Columns of join keys and inputs, as people hold them, to columns as they travel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from mlops.features.v1 import feature_serving_service_pb2 as pb

from mlmesh.errors import InvalidArgument

Columns = Mapping[str, Any] | Any
"""Columns by name, each a list, an array of numpy, a column of pandas, Polars or Arrow, or one value for one row; or a table of pandas,
Polars or Arrow."""

_EPOCH = np.datetime64("1970-01-01T00:00:00", "us")
_LARGEST = 2**63 - 1
_HINT = "give a list or an array of bool, int, float, str, bytes, date or datetime"


def values_by_name(columns: Columns) -> dict[str, pb.Values]:
    """Returns columns as they travel.

    Args:
        columns: The columns.

    Raises:
        mlmesh.errors.InvalidArgument: They are none, or a value cannot be sent.
    """
    return {name: values_message(name, column) for name, column in _named_columns(columns)}


def values_message(name: str, column: Any) -> pb.Values:
    """Returns a column as it travels. Days become dates, moments timestamps; those of arrays that have no zone are UTC.

    Args:
        name: Its name, for errors.
        column: The column; `Values` are taken as they are.

    Raises:
        mlmesh.errors.InvalidArgument: A value is missing or of another type than those before it, or the type cannot be sent.
    """
    if isinstance(column, pb.Values):
        return column
    if isinstance(column, list | tuple):
        return _of_list(name, column)
    if isinstance(column, bool | int | float | str | bytes | date):
        return _of_list(name, [column])
    return _of_array(name, _array(name, column))


def _named_columns(columns: Columns) -> Iterator[tuple[str, Any]]:
    if isinstance(columns, Mapping):
        yield from columns.items()
    elif hasattr(columns, "column_names"):
        yield from zip(columns.column_names, columns.columns, strict=True)
    elif hasattr(columns, "columns") and hasattr(columns, "__getitem__"):
        yield from ((str(name), columns[name]) for name in columns.columns)
    else:
        raise InvalidArgument(
            f"a {type(columns).__name__} is no columns by name",
            reason="COLUMNS_INVALID",
            hint="{'user_id': [7, 8]}, or a table of pandas, Polars or Arrow",
        )


def _array(name: str, column: Any) -> np.ndarray[Any, Any]:
    if _has_nulls(column):
        raise _missing(name)
    if hasattr(column, "to_pylist"):
        column = column.to_numpy(zero_copy_only=False)
    elif hasattr(column, "to_numpy"):
        column = column.to_numpy()
    elif not isinstance(column, np.ndarray | np.generic):
        raise InvalidArgument(f"{name!r} is a {type(column).__name__}, which is no column", reason="COLUMNS_INVALID", hint=_HINT)
    array = np.atleast_1d(column)
    if array.ndim != 1:
        raise InvalidArgument(f"{name!r} has the shape {array.shape}; a column has one dimension", reason="COLUMNS_INVALID")
    return array


def _has_nulls(column: Any) -> bool:
    # Arrow and Polars count them. Those of pandas would become NaN, which among floats says what is missing, as it always has.
    nulls = getattr(column, "null_count", 0)
    if nulls() if callable(nulls) else nulls:
        return True
    return hasattr(column, "isna") and getattr(column.dtype, "kind", "O") != "f" and bool(column.isna().any())


def _of_array(name: str, array: np.ndarray[Any, Any]) -> pb.Values:
    match array.dtype.kind:
        case "b":
            return pb.Values(bool_values=pb.BoolValues(values=array.tolist()))
        case "i" | "u":
            return _of_whole(name, array.tolist())
        case "f":
            return pb.Values(double_values=pb.DoubleValues(values=array.tolist()))
        case "M":
            return _of_moments(name, array)
        case "O" | "U" | "S":
            return _of_list(name, array.tolist())
    raise InvalidArgument(f"{name!r} is an array of {array.dtype}, which cannot be sent", reason="VALUE_TYPE", hint=_HINT)


def _of_moments(name: str, array: np.ndarray[Any, Any]) -> pb.Values:
    if np.isnat(array).any():
        raise _missing(name)
    if np.datetime_data(array.dtype)[0] == "D":
        return pb.Values(string_values=pb.StringValues(values=np.datetime_as_string(array).tolist()))
    seconds, micros = np.divmod((array.astype("datetime64[us]") - _EPOCH).astype(np.int64), 1_000_000)
    stamps = (Timestamp(seconds=whole, nanos=part * 1000) for whole, part in zip(seconds.tolist(), micros.tolist(), strict=True))
    return pb.Values(timestamp_values=pb.TimestampValues(values=stamps))


def _of_list(name: str, column: Sequence[Any]) -> pb.Values:
    kinds = {_kind(name, kind) for kind in set(map(type, column))}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) != 1:
        if not kinds:
            raise InvalidArgument(f"{name!r} has no rows", reason="COLUMNS_INVALID")
        mixed = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise InvalidArgument(f"{name!r} mixes {mixed}; a column has one type", reason="VALUE_TYPE")
    (kind,) = kinds
    if kind is int:
        return _of_whole(name, [int(value) for value in column])
    if kind is datetime:
        return pb.Values(timestamp_values=pb.TimestampValues(values=[_timestamp(name, value) for value in column]))
    if kind is date:
        return pb.Values(string_values=pb.StringValues(values=[value.isoformat() for value in column]))
    if kind is bool:
        return pb.Values(bool_values=pb.BoolValues(values=map(bool, column)))
    if kind is float:
        return pb.Values(double_values=pb.DoubleValues(values=map(float, column)))
    if kind is str:
        return pb.Values(string_values=pb.StringValues(values=column))
    return pb.Values(bytes_values=pb.BytesValues(values=column))


def _kind(name: str, kind: type) -> type:
    if kind.__name__ in {"NoneType", "NAType", "NaTType"}:
        raise _missing(name)
    # The order counts: a bool is an int, and a datetime a date.
    for wanted, kinds in (
        (bool, (bool, np.bool_)),
        (int, (int, np.integer)),
        (float, (float, np.floating)),
        (str, (str,)),
        (bytes, (bytes,)),
        (datetime, (datetime,)),
        (date, (date,)),
    ):
        if issubclass(kind, kinds):
            return wanted
    raise InvalidArgument(f"{name!r} has a {kind.__name__}, which cannot be sent", reason="VALUE_TYPE", hint=_HINT)


def _of_whole(name: str, values: list[int]) -> pb.Values:
    if values and not (max(values) <= _LARGEST and min(values) >= -_LARGEST - 1):
        raise InvalidArgument(f"{name!r} has a whole number of more than 64 bits", reason="VALUE_TYPE")
    return pb.Values(int64_values=pb.Int64Values(values=values))


def _timestamp(name: str, moment: datetime) -> Timestamp:
    if moment.tzinfo is None:
        raise InvalidArgument(
            f"{name!r} has {moment}, without a time zone; use for example datetime.now(timezone.utc)", reason="TIME_ZONE_MISSING"
        )
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp


def _missing(name: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name!r} has no value in some rows; every row needs one", reason="VALUE_MISSING", hint="leave these rows out, or fill them"
    )
