"""A column of text that is given its type at once: the one that the values before had.

What comes out is what `text_types` gives for all values of the column together, or `WrongGuess`. It is faster, because most values prove
themselves: where Arrow writes the typed value just as it stood in the file, no pattern has to be looked for and nothing was lost.
"""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.readers.text_types import BOOLEAN_WORDS, DIGITS_OF_EVERY_FLOAT64, TextColumn, cast_text

_INTEGER, _FLOAT, _DATE, _TIMESTAMP = pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us")
_BOOLEANS = pa.array(BOOLEAN_WORDS)
_FIRST_DAY = pa.scalar(datetime.date(1, 1, 1))
_UNITS = {len("2020-02-29 12:30:01"): "s", len("2020-02-29 12:30:01.123"): "ms"}


class WrongGuess(Exception):
    """The column has another type than its first values, and what was read cannot become it without loss."""


class GuessedColumn:
    """Reads a column part by part.

    Args:
        null_words: Values that are null, unless the column is text.
        wanted: The type, where the caller says it.
    """

    def __init__(self, null_words: tuple[str, ...], wanted: pa.DataType | None = None) -> None:
        self._null_words = null_words
        self._wanted = wanted
        self._known = TextColumn(null_words)
        self._readable_null_words: tuple[str, ...] = ()
        self._are_integers_floats = True

    @property
    def type(self) -> pa.DataType:
        """The type so far. Arrays given earlier may have a narrower one; see `widened`."""
        return self._wanted or self._known.type

    def read(self, values: pa.Array) -> pa.Array:
        """Gives more values of type `string` their type.

        Raises:
            WrongGuess: If they show that the type is another one.
        """
        if self._known.is_settled:
            return values
        try:
            typed = self._as_before(values) if self._known.has_values and not self._wanted else None
            if typed is None:
                self._learn(values)
                typed = cast_text(values, self.type, self._null_words)
        except pa.ArrowException:
            raise WrongGuess from None
        if typed.type == _INTEGER:
            self._are_integers_floats = self._are_integers_floats and _are_floats(values)
        return typed

    def widened(self, values: pa.Array) -> pa.Array:
        """An array that `read` gave, in the type that the column has now."""
        if values.type == self.type:
            return values
        return cast_text(values, self.type, self._null_words) if values.type == pa.string() else values.cast(self.type)

    def _as_before(self, values: pa.Array) -> pa.Array | None:
        target = self._known.type
        try:
            # The other null words raise.
            typed = _cast(values, target, self._readable_null_words)
        except pa.ArrowException:
            try:
                typed = cast_text(values, target, self._null_words)
            except pa.ArrowException:
                return None
        unproven = values.filter(_is_unproven(values, typed))
        if len(unproven):
            known = self._known.copy()
            known.add(unproven)
            if known.type != target:
                return None
        return typed

    def _learn(self, values: pa.Array) -> None:
        """Takes the type that the values have together with those before."""
        if self._wanted:
            return
        known = self._known.copy()
        known.add(values)
        before, after = self._known.type, known.type
        is_exact = (before, after) == (_DATE, _TIMESTAMP) or ((before, after) == (_INTEGER, _FLOAT) and self._are_integers_floats)
        if pa.types.is_decimal(after) or known.has_too_many_digits or (self._known.has_values and not is_exact):
            raise WrongGuess
        self._known = known
        self._readable_null_words = tuple(word for word in self._null_words if _is_castable(word, after))


def _cast(values: pa.Array, target: pa.DataType, null_words: tuple[str, ...]) -> pa.Array:
    # Not `cast_text`, which looks at every timestamp for zeros that Arrow does not take.
    if null_words:
        is_null = pc.is_in(values, pa.array(null_words))
        values = pc.if_else(is_null, pa.scalar(None, pa.string()), values) if is_null.true_count else values
    return values.cast(target)


def _is_castable(word: str, target: pa.DataType) -> bool:
    try:
        pa.array([word]).cast(target)
    except pa.ArrowException:
        return False
    return True


def _are_floats(integers: pa.Array) -> bool:
    """Whether text became the same as float64 and as int64: with no more digits than float64 keeps, and without its negative zero."""
    return (pc.max(pc.binary_length(integers)).as_py() or 0) <= DIGITS_OF_EVERY_FLOAT64 and pc.index(integers, "-0").as_py() < 0


def _is_unproven(values: pa.Array, typed: pa.Array) -> pa.BooleanArray:
    """Where a value is not as Arrow writes it, so that it may be no value of the type at all, such as 007."""
    if pa.types.is_boolean(typed.type):
        return pc.and_(pc.is_valid(typed), pc.invert(pc.is_in(values, _BOOLEANS)))
    if pa.types.is_timestamp(typed.type):
        return pc.or_(pc.not_equal(_written_timestamps(values, typed), values), pc.less(typed, _FIRST_DAY.cast(typed.type)))
    is_other = pc.not_equal(typed.cast(pa.string()), values)
    # Arrow knows a year 0.
    return pc.or_(is_other, pc.less(typed, _FIRST_DAY)) if pa.types.is_date(typed.type) else is_other


def _written_timestamps(values: pa.Array, typed: pa.Array) -> pa.Array:
    """Timestamps as text in the form of the first one: of a CSV's many forms, one file mostly has one."""
    first = next((text for text in values.slice(0, 100).to_pylist() if text), "")
    unit = _UNITS.get(len(first.removesuffix("Z")), "us")
    # Digits that get lost here make the text another one, which is then looked at.
    written = typed.cast(pa.timestamp(unit, typed.type.tz), safe=False).cast(pa.string())
    return pc.utf8_replace_slice(written, 10, 11, "T") if first[10:11] == "T" else written
