"""Join keys and request inputs as a caller gives them, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import numpy as np
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.online import JoinKeyType
from servers.features.serving.errors import InvalidEntities, TooManyServedRows

__all__ = ["given_columns", "join_key_columns", "request_input_columns"]

Columns = dict[str, Any]
"""Values by name: a list, or an array of integers; days or microseconds since 1970-01-01 UTC where they are dates or times."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_SHOWN = 20


def given_columns(
    entities: Mapping[str, pb.Values],
    join_keys: Mapping[str, JoinKeyType],
    inputs: Mapping[str, pb.Values],
    request_inputs: Iterable[view_pb.RequestInput],
    most_rows: int,
) -> tuple[int, Columns, Columns]:
    """Reads the rows of a request.

    Args:
        entities: Join keys, as they came.
        join_keys: Those that are needed.
        inputs: Request inputs, as they came.
        request_inputs: Those that are needed.
        most_rows: How many rows there may be.

    Returns:
        How many rows there are, their join keys, and their request inputs.

    Raises:
        InvalidEntities: INVALID_ARGUMENT: something is missing, unknown, of another type, or there are not as many as of the others.
        TooManyServedRows: INVALID_ARGUMENT.
    """
    keys = join_key_columns(entities, join_keys)
    first = next(iter(keys))
    rows = len(keys[first])
    if not rows:
        raise InvalidEntities("entities", f"{first!r} has no values; give at least one row")
    if rows > most_rows:
        raise TooManyServedRows(rows, most_rows)
    own = request_input_columns(inputs, {each.name: each.type for each in request_inputs})
    for field, columns in (("entities", keys), ("request_inputs", own)):
        for name, column in columns.items():
            if len(column) != rows:
                raise InvalidEntities(field, f"{name!r} has {len(column):,} values and {first!r} has {rows:,}; every row needs one of each")
    return rows, keys, own


def join_key_columns(given: Mapping[str, pb.Values], needed: Mapping[str, JoinKeyType]) -> Columns:
    """Reads join keys, of which some rows may be missing.

    Raises:
        InvalidEntities: INVALID_ARGUMENT.
    """
    return _columns("entities", "join key", given, needed)


def request_input_columns(given: Mapping[str, pb.Values], needed: Mapping[str, str]) -> Columns:
    """Reads request inputs, of which some rows may be missing.

    Raises:
        InvalidEntities: INVALID_ARGUMENT.
    """
    return _columns("request_inputs", "request input", given, needed)


def _columns(field: str, what: str, given: Mapping[str, pb.Values], needed: Mapping[str, str]) -> Columns:
    if given.keys() != needed.keys():
        raise _of_names(field, what, given, needed)
    columns: Columns = {}
    for name, type_name in needed.items():
        values = given[name]
        kind, read = _KINDS[type_name]
        if values.WhichOneof("kind") != kind:
            raise InvalidEntities(field, f"{what} {name!r} is {type_name} and comes as {kind}, not as {values.WhichOneof('kind')}")
        try:
            columns[name] = read(getattr(values, kind).values)
        except ValueError as error:
            raise InvalidEntities(field, f"{what} {name!r} is {type_name}, and a value is not: {error}") from None
    return columns


def _of_names(field: str, what: str, given: Mapping[str, pb.Values], needed: Mapping[str, str]) -> InvalidEntities:
    missing, unknown = [name for name in needed if name not in given], sorted(set(given) - set(needed))
    wrong = f"{what} {missing[0]!r} is missing" if missing else f"{unknown[0]!r} is not known"
    listed = [f"{name} ({type_name})" for name, type_name in list(needed.items())[:_SHOWN]]
    more = f" and {len(needed) - _SHOWN} more" if len(needed) > _SHOWN else ""
    return InvalidEntities(field, f"{wrong}; needed are {', '.join(listed)}{more}" if needed else f"{wrong}; none are needed")


def _array(dtype: str) -> Callable[[Any], Any]:
    return lambda values: np.fromiter(values, dtype, len(values))


def _dates(values: Iterable[str]) -> Any:
    return np.array([_day(value) for value in values], np.int32)


def _day(text: str) -> int:
    if len(text) != len("2026-11-27"):
        raise ValueError(f"{text[:50]!r} is no date like 2026-11-27")
    try:
        return date.fromisoformat(text).toordinal() - _EPOCH_DAY
    except ValueError:
        raise ValueError(f"{text!r} is no date like 2026-11-27") from None


def _times(values: Any) -> Any:
    seconds = np.fromiter((value.seconds for value in values), np.int64, len(values))
    nanoseconds = np.fromiter((value.nanos for value in values), np.int64, len(values))
    if ((nanoseconds % 1000 != 0) | (nanoseconds < 0) | (nanoseconds >= 10**9)).any():
        raise ValueError("times have whole microseconds")
    if (np.abs(seconds) > 10**12).any():
        raise ValueError("a time is out of range")
    return seconds * 1_000_000 + nanoseconds // 1000


_KINDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "bool": ("bool_values", _array("?")),
    "int64": ("int64_values", _array("<i8")),
    "float64": ("double_values", _array("<f8")),
    "string": ("string_values", list),
    "bytes": ("bytes_values", list),
    "date": ("string_values", _dates),
    "timestamp": ("timestamp_values", _times),
}
