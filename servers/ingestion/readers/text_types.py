"""Types of text: the narrowest type that holds every value of a column, and text turned into that type without losing anything.

What is found depends on the values alone, not on their order or on how they come in batches.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MAX_DIGITS = 38
"""Digits that decimal128 holds."""

# Numbers with leading zeros or a plus are names (postal codes, telephone numbers), and stay text.
_INTEGER = r"^(?:0|-?[1-9][0-9]*)$"
_NUMBER = r"^(?:-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|-?(?:inf|Inf|INF|Infinity)|nan|NaN|NAN)$"
_DATE = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
_TIME = r"[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6}0*)?)?"

BOOLEAN_WORDS = ("true", "false", "True", "False", "TRUE", "FALSE")

_BOOLEAN_TYPE, _DATE_TYPE = pa.bool_(), pa.date32()
_TIMESTAMP, _TIMESTAMP_UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")

# Kinds, each with the pattern of its values; narrower ones first.
_PATTERNS = {
    "integer": _INTEGER,
    "number": _NUMBER,
    "boolean": f"^(?:{'|'.join(BOOLEAN_WORDS)})$",
    "date": f"^{_DATE}$",
    "timestamp": f"^{_DATE}(?:{_TIME})?$",
    "timestamp_utc": f"^{_DATE}{_TIME}(?:Z|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)$",
}
_WIDER = {"integer": "number", "date": "timestamp"}
_TYPES = {"boolean": _BOOLEAN_TYPE, "date": _DATE_TYPE, "timestamp": _TIMESTAMP, "timestamp_utc": _TIMESTAMP_UTC}
TIME_KINDS = ("date", "timestamp", "timestamp_utc")
"""The kinds that formats with numbers and booleans of their own still write as text."""

DIGITS_OF_EVERY_FLOAT64 = 15
"""Decimal digits that float64 keeps whatever they are."""


class TextColumn:
    """What is known of a column of text from the values seen so far.

    Args:
        null_words: Values that say nothing about the type.
        kinds: Kinds that are looked for; others stay text.
    """

    def __init__(self, null_words: tuple[str, ...] = (), kinds: tuple[str, ...] = tuple(_PATTERNS)) -> None:
        self._null_words = pa.array(null_words, pa.string())
        self._kinds = kinds
        self._kind = "unknown"
        self._whole_digits = 0
        self._scale = 0
        self._is_whole = True
        self._fits_int64 = True
        self._fits_float64 = True
        self._is_finite = True

    @property
    def type(self) -> pa.DataType:
        """The narrowest type of the values seen; `string` where nothing was."""
        if self._kind not in ("integer", "number"):
            return _TYPES.get(self._kind, pa.string())
        if self._is_whole and self._fits_int64:
            return pa.int64()
        if self._fits_float64 and not self._is_whole:
            return pa.float64()
        return pa.decimal128(MAX_DIGITS, self._scale) if self._fits_decimal else pa.string()

    @property
    def has_too_many_digits(self) -> bool:
        """Whether these are numbers that stay text, because no type holds all their digits."""
        return self._kind in ("integer", "number") and pa.types.is_string(self.type)

    @property
    def is_settled(self) -> bool:
        """Whether no further value can change the type."""
        return self._kind == "text"

    @property
    def has_values(self) -> bool:
        """Whether a value was seen that says something about the type."""
        return self._kind != "unknown"

    def copy(self) -> TextColumn:
        """The same knowledge, to be added to on its own."""
        twin = TextColumn(kinds=self._kinds)
        twin.__dict__.update(self.__dict__)
        return twin

    def add(self, values: pa.Array) -> None:
        """Takes more values of type `string` into account."""
        if self.is_settled:
            return
        values = _without(values, self._null_words)
        if not len(values):
            return
        self._kind = self._kind_with(values)
        if self._kind in ("integer", "number"):
            self._add_digits(values)

    def _kind_with(self, values: pa.Array) -> str:
        if self._kind == "unknown":
            candidates = self._kinds
        else:
            candidates = (self._kind, *(wider for kind, wider in _WIDER.items() if kind == self._kind))
        return next((kind for kind in candidates if _is_kind(values, kind)), "text")

    @property
    def _fits_decimal(self) -> bool:
        return self._is_finite and self._whole_digits + self._scale <= MAX_DIGITS

    def _add_digits(self, values: pa.Array) -> None:
        lengths = pc.binary_length(values)
        if self._kind == "integer" and pc.max(lengths).as_py() <= DIGITS_OF_EVERY_FLOAT64:
            self._whole_digits = max(self._whole_digits, pc.max(lengths).as_py())
            return
        is_plain = pc.match_substring_regex(values, r"^-?[0-9]*\.?[0-9]*$")
        plain, others = values.filter(is_plain), values.filter(pc.invert(is_plain))
        if len(plain):
            self._add_plain(plain)
        for text in others.to_pylist():
            self._add_scientific(text)
        self._fits_float64 = self._fits_float64 and _is_exact(values, lengths)

    def _add_plain(self, values: pa.Array) -> None:
        digits = pc.utf8_ltrim(values, "-")
        length, dot = pc.binary_length(digits), pc.find_substring(digits, ".")
        has_dot = pc.greater_equal(dot, 0)
        self._whole_digits = max(self._whole_digits, pc.max(pc.if_else(has_dot, dot, length)).as_py())
        self._scale = max(self._scale, pc.max(pc.if_else(has_dot, pc.subtract(pc.subtract(length, dot), 1), 0)).as_py())
        if pc.any(has_dot).as_py():
            self._is_whole = False
        elif self._is_whole:
            self._fits_int64 = self._fits_int64 and _casts(values, pa.int64())

    def _add_scientific(self, text: str) -> None:
        self._is_whole = False
        number = Decimal(text)
        if not number.is_finite():
            self._is_finite = False
            return
        _, digits, exponent = number.as_tuple()
        self._whole_digits = max(self._whole_digits, len(digits) + int(exponent))
        self._scale = max(self._scale, -int(exponent))


def cast_text(values: pa.Array, target: pa.DataType, null_words: tuple[str, ...] = ()) -> pa.Array:
    """Turns text into a type.

    Args:
        values: Array of type `string`.
        target: Type wanted.
        null_words: Values that are null, unless `target` is text.

    Raises:
        pyarrow.ArrowException: If a value is not of the type, or the type cannot come from text.
    """
    if pa.types.is_string(target) or pa.types.is_binary(target):
        return values.cast(target)
    if null_words:
        is_null = pc.is_in(values, pa.array(null_words, pa.string()))
        values = pc.if_else(is_null, pa.scalar(None, pa.string()), values) if pc.any(is_null).as_py() else values
    if pa.types.is_timestamp(target):
        # Arrow takes no more digits than the unit has, even if they are zeros.
        values = pc.replace_substring_regex(values, r"(\.[0-9]{6})0+", r"\1")
    return values.cast(target)


def first_unfit(values: pa.Array, fits: Any) -> int:
    """Index of the first value that does not fit, given that `fits(values)` is false and that slices of fitting values fit."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(values.slice(low, middle - low)):
            low = middle
        else:
            high = middle
    return low


def keeps_number(text: str) -> bool:
    """Whether float64 gives back the number as it was written."""
    number, as_float = Decimal(text), float(text)
    return not number.is_finite() or number == Decimal(repr(as_float))


def keeps_numbers(texts: Any) -> bool:
    """Whether float64 keeps every one of many numbers. Arrow decides where it writes a number as it was; Python looks at the rest."""
    values = pa.array(texts, pa.string())
    back = values.cast(pa.float64()).cast(pa.string())
    return all(keeps_number(text) for text in values.filter(pc.not_equal(values, back)).to_pylist())


def _without(values: pa.Array, null_words: pa.Array) -> pa.Array:
    values = values.drop_null()
    if not len(null_words) or not len(values):
        return values
    is_null = pc.is_in(values, null_words)
    return values.filter(pc.invert(is_null)) if pc.any(is_null).as_py() else values


def _is_kind(values: pa.Array, kind: str) -> bool:
    if not pc.all(pc.match_substring_regex(values, _PATTERNS[kind])).as_py():
        return False
    return kind not in TIME_KINDS or _casts(values, _TYPES[kind])


def _casts(values: pa.Array, target: pa.DataType) -> bool:
    try:
        cast_text(values, target)
    except pa.ArrowException:
        return False
    return True


def _is_exact(values: pa.Array, lengths: pa.Array) -> bool:
    is_unsure = pc.or_(pc.greater(lengths, DIGITS_OF_EVERY_FLOAT64), pc.match_substring_regex(values, "[eE]"))
    return keeps_numbers(values.filter(is_unsure))
