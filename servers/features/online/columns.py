"""Values of one feature for many entities, as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from itertools import pairwise
from typing import Any

import numpy as np

from servers.features.online.errors import InvalidFeatureValue
from servers.features.online.feature_types import FeatureType

__all__ = ["Column", "Lists", "Strings", "offsets_of", "python_values"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DECIMALS = Context(prec=40)


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """Texts or bytes, one behind the other.

    Args:
        offsets: `(count + 1,) int64`; where each begins, and where the last one ends.
        data: The bytes; UTF-8 where they are texts.
    """

    offsets: np.ndarray[Any, Any]
    data: bytes | memoryview

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, values: Iterable[str | bytes]) -> Strings:
        """Put texts or bytes together.

        Raises:
            InvalidFeatureValue: If a text has half of a surrogate pair.
        """
        try:
            encoded = [value.encode() if isinstance(value, str) else value for value in values]
        except UnicodeEncodeError:
            raise InvalidFeatureValue("half of a surrogate pair is no text") from None
        return cls(offsets_of(list(map(len, encoded))), b"".join(encoded))

    def pieces(self) -> list[bytes]:
        """Return the bytes of each."""
        data = bytes(self.data)
        return [data[start:end] for start, end in pairwise(self.offsets.tolist())]


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists, one behind the other.

    Args:
        offsets: `(count + 1,) int64`; the element with which each begins, and the end of the last one.
        elements: The elements of all. None is null.
    """

    offsets: np.ndarray[Any, Any]
    elements: np.ndarray[Any, Any] | Strings

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Values of a feature.

    Args:
        type: The feature's type.
        is_null: `(rows,) bool`.
        values: `(rows,)`, as `FeatureType.dtype` says; `Strings` or `Lists` where the width differs. Where `is_null`, they say nothing.
    """

    type: FeatureType
    is_null: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any] | Strings | Lists

    def __len__(self) -> int:
        return len(self.is_null)


def offsets_of(lengths: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where things of these lengths begin when one stands behind the other, and where the last one ends: `(count + 1,) int64`."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def python_values(column: Column) -> list[Any]:
    """Return a column as Python objects, None for null; dates, times in UTC and decimals as the standard library has them.

    A date or time that Python's calendar does not reach (years 1 to 9999) stays the number it is kept as.
    """
    values, element = column.values, _python_of(column.type)
    if isinstance(values, Lists):
        flat = values.elements.pieces() if isinstance(values.elements, Strings) else values.elements.tolist()
        plain: list[Any] = [flat[start:end] for start, end in pairwise(values.offsets.tolist())]
    elif isinstance(values, Strings):
        plain = values.pieces()
    else:
        plain = values.tolist()
    nulls = column.is_null.tolist()
    return [None if null else element(value) for value, null in zip(plain, nulls, strict=True)]


def _python_of(feature_type: FeatureType) -> Callable[[Any], Any]:
    if feature_type.is_decimal:
        return lambda raw: Decimal(int.from_bytes(raw, "little", signed=True)).scaleb(-feature_type.scale, _DECIMALS)
    if feature_type.name == "string":
        return lambda raw: str(raw, "utf-8")
    if feature_type.name == "list<string>":
        return lambda pieces: [str(piece, "utf-8") for piece in pieces]
    return {"date": _date, "timestamp": _time}.get(feature_type.name, lambda value: value)


def _date(days: int) -> date | int:
    try:
        return date.fromordinal(days + _EPOCH_DAY)
    except (ValueError, OverflowError):
        return days


def _time(microseconds: int) -> datetime | int:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return microseconds
