"""Values of tables as JSON, without losing a digit."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any

import pyarrow as pa

_LIMIT = 2**63


def json_value(value: Any) -> Any:
    """Returns a value as JSON has it.

    Args:
        value: Of a table, as Python has it.

    Returns:
        Dates and times in ISO 8601, bytes in base64, decimals and whole numbers beyond 64 bits as text, NaN and infinities as protobuf's
        JSON calls them.
    """
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, int):
        return value if -_LIMIT <= value < _LIMIT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Sequence | set | frozenset):
        return [json_value(entry) for entry in value]
    return str(value)


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Returns the rows of a table, each as an object by the names of its columns. Maps are lists of objects with `key` and `value`."""
    columns = [[_json_cell(scalar) for scalar in column] for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def _json_cell(scalar: pa.Scalar) -> Any:
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if pa.types.is_list(kind):
        return [_json_cell(entry) for entry in scalar.values]
    if pa.types.is_map(kind):
        return [{"key": _json_cell(entry[0]), "value": _json_cell(entry[1])} for entry in scalar.values]
    if pa.types.is_struct(kind):
        return {field.name: _json_cell(scalar[place]) for place, field in enumerate(kind)}
    try:
        return json_value(scalar.as_py())
    except (OverflowError, ValueError):
        # Years that Python's dates do not have.
        return str(scalar.cast(pa.string()))
