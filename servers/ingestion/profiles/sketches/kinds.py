"""What a sketch sees in a column: values of one of six kinds, each of which all Arrow types for it agree on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from servers.ingestion.profiles.sketches.hashing import (
    Hashes,
    as_large_binary,
    hashes_of_bytes,
    hashes_of_decimals,
    hashes_of_floats,
    hashes_of_integers,
)

SHOWN_BYTES = 100
"""Texts and bytes are kept up to this length, in bytes."""

_MICROSECONDS_A_DAY = 86_400_000_000
_MOST_DAYS = 106_751_990


class Kind(StrEnum):
    """What values are. Kinds do not mix, but for NOTHING and any other."""

    NOTHING = "nothing"
    """Of a column that had only nulls: nobody knows."""
    NUMBER = "number"
    TIME = "time"
    """Dates and points in time, kept as microseconds since 1970."""
    BOOLEAN = "boolean"
    TEXT = "text"
    BINARY = "binary"
    OTHER = "other"
    """Lists, maps, structs and whatever else has no order: counted only."""


def kind_of(arrow_type: pa.DataType) -> Kind:
    """Returns the kind of a type's values."""
    if types.is_dictionary(arrow_type):
        return kind_of(arrow_type.value_type)
    if types.is_integer(arrow_type) or types.is_floating(arrow_type) or types.is_decimal128(arrow_type):
        return Kind.NUMBER
    if types.is_date(arrow_type) or types.is_timestamp(arrow_type):
        return Kind.TIME
    tests = {
        Kind.NOTHING: (types.is_null,),
        Kind.BOOLEAN: (types.is_boolean,),
        Kind.TEXT: (types.is_string, types.is_large_string, types.is_string_view),
        Kind.BINARY: (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary),
    }
    return next((kind for kind, layouts in tests.items() if any(is_layout(arrow_type) for is_layout in layouts)), Kind.OTHER)


def plain(array: pa.Array) -> pa.Array:
    """Returns a column in the layout that the rest of this package reads: no dictionaries, no views, times in microseconds."""
    arrow_type = array.type
    if types.is_dictionary(arrow_type):
        return plain(array.cast(arrow_type.value_type))
    if types.is_float16(arrow_type):
        return array.cast(pa.float64())
    if types.is_string_view(arrow_type):
        return array.cast(pa.large_string())
    if types.is_binary_view(arrow_type) or types.is_fixed_size_binary(arrow_type):
        return array.cast(pa.large_binary())
    if types.is_date(arrow_type):
        days = array.cast(pa.date32()).cast(pa.int32()).to_numpy(zero_copy_only=False).astype(np.int64)
        # Beyond the year 294246 microseconds do not fit, and nobody tells those days apart.
        return pa.array(np.clip(days, -_MOST_DAYS, _MOST_DAYS) * _MICROSECONDS_A_DAY)
    if types.is_timestamp(arrow_type):
        return array.cast(pa.timestamp("us", arrow_type.tz), safe=False).cast(pa.int64())
    return array


def hashes_of(array: pa.Array, kind: Kind) -> Hashes:
    """Hashes the values of a plain column without nulls and NaN."""
    if kind in (Kind.TEXT, Kind.BINARY):
        return hashes_of_bytes(as_large_binary(array))
    if kind is Kind.BOOLEAN:
        return hashes_of_integers(array.cast(pa.int8()).to_numpy(zero_copy_only=False))
    if types.is_decimal(array.type):
        return hashes_of_decimals(array)
    if types.is_floating(array.type):
        return hashes_of_floats(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return hashes_of_integers(array.to_numpy(zero_copy_only=False))


def floats_of(array: pa.Array) -> npt.NDArray[np.float64]:
    """Returns numbers, times or booleans of a plain column without nulls as floats."""
    if types.is_boolean(array.type):
        array = array.cast(pa.int8())
    # Whole numbers beyond 2^53 lose digits, which no estimate notices. A copy, since datasketches reads nothing that is read-only.
    return np.array(pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def value_at(array: pa.Array, place: int, kind: Kind) -> Any:
    """Returns a value of a plain column as sketches keep it: text and bytes cut, the former as UTF-8."""
    if kind is Kind.TEXT:
        array = array[place : place + 1]
        return kept_text(pc.cast(array, pa.large_binary())[0].as_py())
    value = array[place].as_py()
    return value[:SHOWN_BYTES] if kind is Kind.BINARY else value


def kept_text(encoded: bytes) -> str:
    """Returns a text as it is kept: up to a length, after which `…` stands. Cut texts keep their order."""
    if len(encoded) <= SHOWN_BYTES:
        return encoded.decode("utf-8", "replace")
    return encoded[:SHOWN_BYTES].decode("utf-8", "ignore") + "…"


def least_and_greatest(array: pa.Array, kind: Kind) -> tuple[Any, Any]:
    """Returns the least and the greatest value of a plain column without nulls and NaN, as sketches keep them."""
    if kind in (Kind.TEXT, Kind.BINARY):
        # By bytes: in UTF-8, that is by code points.
        found = pc.min_max(as_large_binary(array))
        low, high = found["min"].as_py(), found["max"].as_py()
        return (kept_text(low), kept_text(high)) if kind is Kind.TEXT else (low[:SHOWN_BYTES], high[:SHOWN_BYTES])
    found = pc.min_max(array)
    return found["min"].as_py(), found["max"].as_py()


def moment_text(microseconds: int, arrow_type: pa.DataType) -> str:
    """Returns a time in ISO 8601 as a preview shows it.

    Args:
        microseconds: Since 1970.
        arrow_type: Of the column: a date, or a timestamp with or without zone.
    """
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    except OverflowError:
        # Years that Python's dates do not have.
        stored = pa.scalar(microseconds, pa.timestamp("us"))
        return str(stored.cast(pa.string()).as_py())
    if types.is_date(arrow_type):
        return moment.date().isoformat()
    return moment.isoformat() if arrow_type.tz is not None else moment.replace(tzinfo=None).isoformat()
