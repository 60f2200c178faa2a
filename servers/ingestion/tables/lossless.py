"""Casts that lose nothing: which values of a column fit a type.

Arrow's safe cast is not it: it lets float64 become float32, rounds floats to decimals, and refuses exact whole numbers above 2^53.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from servers.ingestion.tables.column_types import is_binary, is_list, is_number, is_text

_EXACT_DIGITS = {pa.float32(): 6, pa.float64(): 15}
"""Decimal digits that a float keeps whatever they are."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A column in its new type."""

    values: pa.Array
    """Null where a value does not fit."""
    misfits: pa.BooleanArray | None
    """True where a value does not fit; None where all do."""


def fit(values: pa.Array, target: pa.DataType) -> Fitted:
    """Casts what can be cast without loss.

    Numbers fit where they are equal afterwards. Text fits a number or a time where it is one, with no more digits than the type keeps.
    Nothing changes its meaning: a timestamp without a time zone is not a point in time, true is not 1.

    Args:
        values: Of any Arrow type.
        target: A Delta type.
    """
    if values.type == target:
        return Fitted(values, None)
    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    source = values.type
    if types.is_float16(source):
        values, source = values.cast(pa.float32()), pa.float32()
    if types.is_null(source) or values.null_count == len(values):
        return Fitted(pa.nulls(len(values), target), None)
    if not _is_same_meaning(source, target):
        return _fitted_within(values, target)
    if types.is_integer(source) and types.is_integer(target):
        return _integers(values, target)
    if types.is_integer(source) and types.is_floating(target):
        return _integers_to_floats(values, target)
    if types.is_floating(source) and types.is_integer(target):
        return _floats_to_integers(values, target)
    if types.is_floating(source) and types.is_floating(target):
        return _equal_afterwards(values, values.cast(target, safe=False))
    if is_text(source) and types.is_floating(target):
        return _text_to_floats(values, target)
    if types.is_integer(source) and types.is_decimal(target):
        # Arrow wants room for the largest number of the type; 76 digits have it.
        return _fitted(cast := _cast_each(values.cast(pa.decimal256(76, target.scale)), target), _newly_null(values, cast))
    cast = _cast_each(values, target)
    # These casts round even where Arrow calls them safe.
    is_rounded = types.is_decimal(target) if types.is_floating(source) else types.is_decimal(source) and types.is_floating(target)
    if is_rounded or (types.is_timestamp(source) and types.is_date(target)):
        return _equal_afterwards(values, cast)
    return _fitted(cast, _newly_null(values, cast))


def shown(values: pa.Array, row: int) -> str | None:
    """Returns a value as text for a message, at most 1000 characters.

    Args:
        values: A column.
        row: Index in it.
    """
    scalar = values[row]
    if not scalar.is_valid:
        return None
    try:
        text = str(scalar.cast(pa.string()).as_py())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        text = str(scalar)
    return text[:1000]


def _is_same_meaning(source: pa.DataType, target: pa.DataType) -> bool:
    if types.is_timestamp(target) and types.is_timestamp(source):
        return bool((source.tz is None) == (target.tz is None))
    if types.is_date(source) or types.is_date(target):
        times = [each for each in (source, target) if types.is_timestamp(each)]
        others = [each for each in (source, target) if not types.is_timestamp(each)]
        return all(each.tz is None for each in times) and all(types.is_date(each) or is_text(each) for each in others)
    if is_text(source) or is_text(target):
        others = [each for each in (source, target) if not is_text(each)]
        return all(is_number(each) or types.is_boolean(each) or types.is_timestamp(each) for each in others)
    if is_list(source) and is_list(target):
        return _is_safe_inside(source.value_type, target.value_type)
    if types.is_map(source) and types.is_map(target):
        return _is_safe_inside(source.key_type, target.key_type) and _is_safe_inside(source.item_type, target.item_type)
    if types.is_struct(source) and types.is_struct(target):
        return source.names == target.names and all(_is_safe_inside(source.field(n).type, target.field(n).type) for n in source.names)
    return (is_number(source) and is_number(target)) or (is_binary(source) and is_binary(target))


def _fitted_within(values: pa.Array, target: pa.DataType) -> Fitted:
    """Fits part by part what Arrow's casts of the whole do not do, or not without loss: objects with other fields, above all."""
    if types.is_struct(values.type) and types.is_struct(target):
        return _structs(values, target)
    if is_list(values.type) and is_list(target):
        return _lists(values, target)
    return _fitted(pa.nulls(len(values), target), pc.is_valid(values))


def _structs(values: pa.StructArray, target: pa.DataType) -> Fitted:
    parts = dict(zip(values.type.names, values.flatten(), strict=True))
    if len(parts) < values.type.num_fields:
        return _fitted(pa.nulls(len(values), target), pc.is_valid(values))
    is_bad = np.zeros(len(values), dtype=np.bool_)
    columns = []
    for field in target:
        fitted = fit(parts.pop(field.name, pa.nulls(len(values))), field.type)
        columns.append(fitted.values)
        if fitted.misfits is not None:
            is_bad |= fitted.misfits.to_numpy(zero_copy_only=False)
    for unknown in parts.values():
        is_bad |= unknown.is_valid().to_numpy(zero_copy_only=False)
    return _fitted(pa.StructArray.from_arrays(columns, fields=list(target), mask=values.is_null()), pa.array(is_bad))


def _lists(values: pa.Array, target: pa.DataType) -> Fitted:
    # Without the elements that a slice or a null leaves unused.
    elements = fit(values.flatten(), target.value_type)
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype(np.int32)
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int32)))
    lists = pa.ListArray.from_arrays(pa.array(offsets), elements.values, type=target, mask=values.is_null())
    is_bad = np.zeros(len(values), dtype=np.bool_)
    if elements.misfits is not None:
        owners = np.repeat(np.arange(len(values)), lengths)
        is_bad[owners[elements.misfits.to_numpy(zero_copy_only=False)]] = True
    return _fitted(lists, pa.array(is_bad))


def _is_safe_inside(source: pa.DataType, target: pa.DataType) -> bool:
    """Says whether Arrow's safe cast, the only one for values inside of others, loses nothing."""
    if types.is_null(source) or source == target or (is_text(source) and is_text(target)):
        return True
    if types.is_dictionary(source):
        return _is_safe_inside(source.value_type, target)
    if is_number(source) and is_number(target):
        is_narrower_float = types.is_floating(source) and types.is_floating(target) and source.bit_width > target.bit_width
        return not is_narrower_float and not types.is_decimal(source) and not types.is_decimal(target)
    return not is_text(source) and not is_text(target) and _is_same_meaning(source, target)


def _fitted(cast: pa.Array, misfits: pa.BooleanArray) -> Fitted:
    if not misfits.true_count:
        return Fitted(cast, None)
    return Fitted(pc.if_else(misfits, pa.scalar(None, cast.type), cast) if cast.null_count < len(cast) else cast, misfits)


def _newly_null(values: pa.Array, cast: pa.Array) -> pa.BooleanArray:
    return pc.and_(pc.is_null(cast), pc.is_valid(values))


def _cast_each(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Casts safely, with null for what cannot be cast. The halves of a column that fails are cast by themselves."""
    try:
        return values.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) == 1:
            return pa.nulls(1, target)
    if is_text(values.type) and (pattern := _readable_text(target)):
        # A column of words would be halved down to each of them.
        is_readable = pc.match_substring_regex(values, pattern)
        if is_readable.false_count:
            return _cast_each(pc.if_else(is_readable, values, pa.scalar(None, values.type)), target)
    # Copies, not slices: a slice of lists is cast with the elements of the whole.
    halves = np.array_split(np.arange(len(values)), 2)
    return pa.concat_arrays([_cast_each(values.take(pa.array(half)), target) for half in halves])


def _readable_text(target: pa.DataType) -> str:
    """Returns a pattern that matches whatever text Arrow reads as a type, and more; empty where all may be."""
    if types.is_integer(target):
        return "^[-+]?([0-9]+|0[xX][0-9a-fA-F]+)$"
    if types.is_floating(target):
        return "^[-+]?[0-9.iInN][0-9a-zA-Z.()_+-]*$"
    if types.is_decimal(target):
        return "^[-+]?[0-9.][0-9.eE+-]*$"
    if types.is_boolean(target):
        return "^(?i:true|false|0|1)$"
    return "^[-+]?[0-9][0-9tTzZ:. +-]*$" if types.is_date(target) or types.is_timestamp(target) else ""


def _equal_afterwards(values: pa.Array, cast: pa.Array) -> Fitted:
    back = _cast_each(cast, values.type)
    is_equal = pc.equal(back, values)
    if types.is_floating(values.type):
        is_equal = pc.or_(is_equal, pc.and_(pc.is_nan(back), pc.is_nan(values)))
    return _fitted(cast, pc.and_(pc.is_valid(values), pc.invert(pc.fill_null(is_equal, False))))


def _bounds(integer: pa.DataType) -> tuple[int, int]:
    bits = integer.bit_width
    return (0, 2**bits - 1) if types.is_unsigned_integer(integer) else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _integers(values: pa.Array, target: pa.DataType) -> Fitted:
    (low, high), (source_low, source_high) = _bounds(target), _bounds(values.type)
    if low <= source_low and source_high <= high:
        return Fitted(values.cast(target), None)
    above = pc.greater(values, pa.scalar(min(high, source_high), values.type))
    below = pc.less(values, pa.scalar(max(low, source_low), values.type))
    return _fitted(values.cast(target, safe=False), pc.fill_null(pc.or_(above, below), False))


def _integers_to_floats(values: pa.Array, target: pa.DataType) -> Fitted:
    cast = values.cast(target, safe=False)
    # The largest whole numbers round up to a float that is no whole number of their type: casting it back is undefined.
    limit = pa.scalar(float(_bounds(values.type)[1] + 1), target)
    is_back = pc.less(cast, limit)
    back = pc.if_else(is_back, cast, pa.scalar(0.0, target)).cast(values.type, safe=False)
    return _fitted(cast, pc.fill_null(pc.invert(pc.and_(is_back, pc.equal(back, values))), False))


def _floats_to_integers(values: pa.Array, target: pa.DataType) -> Fitted:
    low, high = _bounds(target)
    exact = values.cast(pa.float64())
    is_whole = pc.and_(pc.and_(pc.greater_equal(exact, float(low)), pc.less(exact, float(high + 1))), pc.equal(pc.floor(exact), exact))
    cast = pc.if_else(is_whole, exact, pa.scalar(None, pa.float64())).cast(target)
    return _fitted(cast, _newly_null(values, cast))


def _text_to_floats(values: pa.Array, target: pa.DataType) -> Fitted:
    values = values.cast(pa.string())
    cast = _cast_each(values, target)
    digits = pc.replace_substring_regex(values, r"[eE].*$|[-+.]", "")
    is_short = pc.less_equal(pc.utf8_length(pc.utf8_ltrim(digits, "0")), _EXACT_DIGITS[target])
    is_kept = pc.or_(pc.or_(is_short, pc.invert(pc.is_finite(cast))), pc.equal(cast.cast(pa.string()), values))
    return _fitted(cast, pc.and_(pc.is_valid(values), pc.invert(pc.fill_null(is_kept, False))))
