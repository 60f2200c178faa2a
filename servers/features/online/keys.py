"""An entity's key as bytes: the same for the same values of its join keys, another for all others, on every platform."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from servers.features.online.errors import InvalidEntityKey

__all__ = ["MAX_KEY_BYTES", "MAX_SLOT_BYTES", "JoinKey", "JoinKeyType", "entity_keys", "is_hashed", "slot_of"]

MAX_KEY_BYTES = 65_536
"""Longest key that is taken by default, in bytes."""
MAX_SLOT_BYTES = 255
"""Longest slot, in bytes. LMDB has keys of 511 bytes, and an index of PostgreSQL 2,704."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_LITERAL, _HASHED = b"\x00", b"\x01"


class JoinKeyType(StrEnum):
    """Type of a join key. A UUID is a string; upper and lower case are different."""

    BOOL = "bool"
    INT64 = "int64"
    STRING = "string"
    BYTES = "bytes"
    DATE = "date"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class JoinKey:
    """One part of an entity's key.

    Args:
        name: Its name in errors.
        type: Type of its values; others are refused, since `1` and `"1"` are different entities.
    """

    name: str
    type: JoinKeyType


def entity_keys(
    join_keys: Sequence[JoinKey],
    columns: Sequence[Sequence[Any] | np.ndarray[Any, Any]],
    *,
    max_key_bytes: int = MAX_KEY_BYTES,
) -> list[bytes]:
    """Return the key of each row.

    Every value is written behind a byte that names its type, and behind its length where its type leaves that open, so that no two rows
    of different values or types have one key.

    Args:
        join_keys: The parts of the key, in the entity's order.
        columns: Values of each part, all equally many: `bool`, `int`, `str`, `bytes`, `date`, or `datetime` with a zone. Or an array of
            booleans, integers, days (DATE) or microseconds (TIMESTAMP) since 1970-01-01 UTC.
        max_key_bytes: Longest key.

    Raises:
        InvalidEntityKey: If a value is null, of another type or out of range, or a key is too long. The first one is named.
    """
    if not join_keys or len(columns) != len(join_keys) or len({len(column) for column in columns}) != 1:
        counts = ", ".join(f"{len(column)}" for column in columns) or "no"
        raise InvalidEntityKey(
            f"an entity of the join keys {[each.name for each in join_keys]} takes equally many values of each; got {counts}"
        )
    parts = [_parts(join_key, column) for join_key, column in zip(join_keys, columns, strict=True)]
    keys = parts[0] if len(parts) == 1 else [b"".join(row) for row in zip(*parts, strict=True)]
    if keys and (longest := max(map(len, keys))) > max_key_bytes:
        raise InvalidEntityKey(
            f"an entity's key has at most {max_key_bytes:,} bytes; row {list(map(len, keys)).index(longest)} has {longest:,}"
        )
    return keys


def slot_of(key: bytes) -> bytes:
    """Return under what a store keeps a key: the key itself, or its SHA-256 where it is long.

    Of the latter a store keeps the whole key beside the vector, and compares it, so that a collision is noticed.
    """
    return _LITERAL + key if len(key) < MAX_SLOT_BYTES else _HASHED + hashlib.sha256(key).digest()


def is_hashed(slot: bytes) -> bool:
    """Return whether several keys could have this slot."""
    return slot.startswith(_HASHED)


def _parts(join_key: JoinKey, column: Sequence[Any] | np.ndarray[Any, Any]) -> list[bytes]:
    kind = _KINDS[join_key.type]
    if isinstance(column, np.ndarray):
        if kind.dtype is None or not _holds(column.dtype, kind.dtype):
            raise InvalidEntityKey(f"join key `{join_key.name}` is {join_key.type}; an array of {column.dtype} is not")
        return _packed(kind.tag, column.astype(kind.dtype))
    if not all(type(value) is kind.python for value in column):
        row, value = next((row, value) for row, value in enumerate(column) if type(value) is not kind.python)
        got = "null" if value is None else type(value).__name__
        raise InvalidEntityKey(f"join key `{join_key.name}` is {join_key.type}; row {row} is {got}, and has to be {kind.python.__name__}")
    try:
        if kind.number is not None and kind.dtype is not None:
            return _packed(kind.tag, np.array([kind.number(value) for value in column], kind.dtype))
        tag = struct.Struct(">BI")
        encoded = [value.encode() for value in column] if kind.python is str else column
        return [tag.pack(kind.tag, len(value)) + value for value in encoded]
    except (OverflowError, TypeError, UnicodeEncodeError) as error:
        raise InvalidEntityKey(f"join key `{join_key.name}` is {join_key.type}, and a value is not: {_why(error)}") from None


def _packed(tag: int, numbers: np.ndarray[Any, Any]) -> list[bytes]:
    rows = np.empty(len(numbers), np.dtype([("tag", "u1"), ("number", numbers.dtype)]))
    rows["tag"], rows["number"] = tag, numbers
    width, raw = rows.dtype.itemsize, rows.tobytes()
    return [raw[start : start + width] for start in range(0, len(raw), width)]


def _holds(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    return given.kind == wanted.kind == "b" or (given.kind in "iu" and wanted.kind == "i" and np.can_cast(given, wanted, "safe"))


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair is no text"
    return "a time needs its zone" if isinstance(error, TypeError) else "it takes more than 64 bits"


@dataclass(frozen=True, slots=True)
class _Kind:
    tag: int
    python: type
    dtype: np.dtype[Any] | None = None
    number: Callable[[Any], int] | None = None


_KINDS = {
    JoinKeyType.BOOL: _Kind(1, bool, np.dtype("?"), int),
    JoinKeyType.INT64: _Kind(2, int, np.dtype(">i8"), int),
    JoinKeyType.STRING: _Kind(3, str),
    JoinKeyType.BYTES: _Kind(4, bytes),
    JoinKeyType.DATE: _Kind(5, date, np.dtype(">i4"), lambda day: int(day.toordinal()) - _EPOCH_DAY),
    JoinKeyType.TIMESTAMP: _Kind(6, datetime, np.dtype(">i8"), lambda time: int((time - _EPOCH) // _MICROSECOND)),
}
