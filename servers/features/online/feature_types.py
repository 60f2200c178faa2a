"""Types of online features, and the schema of a vector."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from servers.features.online.errors import InvalidFeatureSchema

__all__ = ["Feature", "FeatureType", "VectorSchema", "feature_type"]

_FORMAT = 1
"""Of the bytes of a vector; part of every fingerprint."""

_FIXED = {
    "bool": "?",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "<u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
    "float32": "<f4",
    "float64": "<f8",
    "date": "<i4",
    "timestamp": "<i8",
}
_ELEMENTS = {"list<float32>": "<f4", "list<float64>": "<f8", "list<int64>": "<i8"}
_TEXTS = ("string", "bytes", "list<string>")
_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)", re.ASCII)
_DECIMAL_DIGITS = 38


@dataclass(frozen=True, slots=True)
class FeatureType:
    """Type of a feature.

    Args:
        name: As `feature_type` reads it.
        dtype: How a value of fixed width is kept: a date as days, a timestamp as microseconds since 1970-01-01 UTC, a decimal as its
            unscaled value in 16 bytes, two's complement; all little-endian. None where the width differs.
        element: How the elements of a list of numbers are kept, likewise.
        scale: Digits of a decimal behind the point.
    """

    name: str
    dtype: np.dtype[Any] | None = None
    element: np.dtype[Any] | None = None
    scale: int = 0

    @property
    def is_list(self) -> bool:
        """Whether a value is a list."""
        return self.name.startswith("list<")

    @property
    def is_decimal(self) -> bool:
        """Whether a value is a decimal."""
        return self.name.startswith("decimal(")


def feature_type(name: str) -> FeatureType:
    """Read the name of a type.

    Args:
        name: `bool`, `int8` to `int64`, `uint8` to `uint64`, `float32`, `float64`, `date`, `timestamp` (microseconds, UTC),
            `decimal(10, 2)`, `string`, `bytes`, `list<float32>`, `list<float64>`, `list<int64>` or `list<string>`.

    Raises:
        InvalidFeatureSchema: If it names none of these.
    """
    if name in _FIXED:
        return FeatureType(name, np.dtype(_FIXED[name]))
    if name in _ELEMENTS:
        return FeatureType(name, element=np.dtype(_ELEMENTS[name]))
    if name in _TEXTS:
        return FeatureType(name)
    match = _DECIMAL.fullmatch(name)
    if match is not None and 1 <= int(match[1]) <= _DECIMAL_DIGITS and int(match[2]) <= int(match[1]):
        return FeatureType(f"decimal({int(match[1])}, {int(match[2])})", np.dtype("V16"), scale=int(match[2]))
    allowed = ", ".join([*_FIXED, f"decimal(precision to {_DECIMAL_DIGITS}, scale)", *_TEXTS[:2], *_ELEMENTS, _TEXTS[2]])
    raise InvalidFeatureSchema(f"{name[:100]!r} is no type of an online feature; allowed are {allowed}")


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a view.

    Args:
        name: Its name, unique in the view.
        type: Its type.
    """

    name: str
    type: FeatureType


@dataclass(frozen=True, eq=False)
class VectorSchema:
    """What the vectors of one version of a feature view hold. Schemas of one fingerprint are equal.

    Args:
        features: Its features in order; one or more.

    Raises:
        InvalidFeatureSchema: If there are none, or a name is empty or there twice.
    """

    features: tuple[Feature, ...]
    fingerprint: bytes = field(init=False)
    """16 bytes that are the same for the same names, types and order only."""

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        if not names or not all(names) or len(set(names)) < len(names):
            raise InvalidFeatureSchema(f"a vector takes one or more features, each with a name of its own; got {names[:20]}")
        text = json.dumps([_FORMAT, [[feature.name, feature.type.name] for feature in self.features]], separators=(",", ":"))
        object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).digest()[:16])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VectorSchema) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @classmethod
    def of(cls, features: Iterable[tuple[str, str]]) -> VectorSchema:
        """Make a schema of names and names of types.

        Raises:
            InvalidFeatureSchema: If it is none.
        """
        return cls(tuple(Feature(name, feature_type(type_name)) for name, type_name in features))
