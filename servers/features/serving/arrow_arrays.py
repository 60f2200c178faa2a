"""Columns of features as arrays of Arrow: the way back from `servers.features.online.arrow_columns`. Imports pyarrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from servers.features.online import Column, Lists, Strings
from servers.features.online.arrow_columns import arrow_type

__all__ = ["arrow_array"]


def arrow_array(column: Column) -> pa.Array:
    """Returns a column as an array of its type in Arrow, null where it is null."""
    wanted, values = arrow_type(column.type), column.values
    mask = _mask(column.is_null)
    if isinstance(values, Lists):
        return pa.Array.from_buffers(
            wanted, len(column), [mask, pa.py_buffer(_offsets(values.offsets))], children=[_elements(wanted, values)]
        )
    if isinstance(values, Strings):
        return pa.Array.from_buffers(wanted, len(column), [mask, pa.py_buffer(_offsets(values.offsets)), pa.py_buffer(values.data)])
    if column.type.name == "bool":
        return pa.array(np.ascontiguousarray(values), wanted, mask=np.ascontiguousarray(column.is_null))
    return pa.Array.from_buffers(wanted, len(column), [mask, pa.py_buffer(np.ascontiguousarray(values).tobytes())])


def _elements(wanted: Any, lists: Lists) -> pa.Array:
    elements = lists.elements
    if isinstance(elements, Strings):
        return pa.Array.from_buffers(
            wanted.value_type, len(elements), [None, pa.py_buffer(_offsets(elements.offsets)), pa.py_buffer(elements.data)]
        )
    return pa.Array.from_buffers(wanted.value_type, len(elements), [None, pa.py_buffer(np.ascontiguousarray(elements).tobytes())])


def _offsets(offsets: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(offsets, "<i8").tobytes()


def _mask(is_null: np.ndarray[Any, Any]) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(~is_null, bitorder="little").tobytes()) if is_null.any() else None
