"""Which dates a table holds: those of the years 1 to 9999.

Delta's log says the first and the last date of a file as text. For a year beyond these, deltalake 1.6 writes a text that no reader takes,
so that nobody can read the table any more; beyond the year 262142 it panics.
"""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

RANGE = "the years 1 to 9999"
"""What is allowed, for messages."""

_EPOCH = datetime.date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (datetime.date.min - _EPOCH).days, (datetime.date.max - _EPOCH).days


def first_unstorable(values: pa.Array) -> int | None:
    """Returns the row of the first value that is, or has within it, a date beyond the range; None where there is none.

    Args:
        values: Of any Arrow type.
    """
    if not _has_dates(values.type) or not _is_any_beyond(values):
        return None
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if _is_any_beyond(values.slice(low, middle - low)):
            high = middle
        else:
            low = middle
    return low


def _has_dates(given: pa.DataType) -> bool:
    if types.is_dictionary(given):
        return _has_dates(given.value_type)
    if types.is_struct(given) or types.is_map(given) or _is_list(given):
        return any(_has_dates(given.field(place).type) for place in range(given.num_fields))
    return bool(types.is_date(given))


def _is_list(given: pa.DataType) -> bool:
    return bool(types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given))


def _is_any_beyond(values: Any) -> bool:
    if not _has_dates(values.type):
        return False
    if types.is_dictionary(values.type):
        return _is_any_beyond(values.dictionary_decode())
    if types.is_struct(values.type):
        return any(map(_is_any_beyond, values.flatten()))
    if types.is_map(values.type):
        entry = pa.struct([values.type.key_field, values.type.item_field])
        return _is_any_beyond(values.cast(pa.list_(entry)).flatten())
    if _is_list(values.type):
        return _is_any_beyond(values.flatten())
    days = pc.min_max(values.cast(pa.date32()).cast(pa.int32())).as_py()
    return days["min"] is not None and (days["min"] < _FIRST_DAY or days["max"] > _LAST_DAY)
