"""What sketches say of a version of a dataset, as callers see it. Plain data, ready for JSON."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from servers.ingestion.data_process.json_values import json_value
from servers.ingestion.profiles.sketches import ColumnSketch, Kind, TableSketch
from servers.ingestion.profiles.sketches.kinds import moment_text

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Ranks of the quantiles that a profile has."""

_MOST_FREQUENT = 20
_RANGES = 30
_FAR_OUT = 10
"""Extremes are left out of a histogram where they make it so many times as wide as the middle 98 % of the values."""

_EXACT = 2**53
_MICROSECONDS = 1_000_000


def profile_object(dataset: str, version: int, schema: pa.Schema, sketch: TableSketch) -> dict[str, Any]:
    """Describes a version.

    Args:
        dataset: Its dataset.
        version: Its number.
        schema: Its columns.
        sketch: Of all of its rows.
    """
    columns = [_column(field, sketch.column(field.name)) for field in schema]
    return {"dataset": dataset, "version": version, "row_count": sketch.rows, "columns": columns}


def _column(field: pa.Field, sketch: ColumnSketch) -> dict[str, Any]:
    has_length = sketch.kind in (Kind.TEXT, Kind.BINARY) and sketch.value_count
    return {
        "name": field.name,
        "type": str(field.type),
        "null_count": sketch.nulls,
        "nan_count": sketch.nans,
        "distinct_count": sketch.distinct_count,
        "minimum": shown(sketch.minimum, sketch.kind, field.type),
        "maximum": shown(sketch.maximum, sketch.kind, field.type),
        "mean": sketch.moments.known_mean,
        "standard_deviation": sketch.moments.standard_deviation if sketch.kind is Kind.NUMBER else None,
        "quantiles": _quantiles(sketch),
        "histogram": _histogram(sketch, field.type),
        "frequent_values": _frequent_values(sketch, field.type),
        "mean_length": sketch.length / sketch.value_count if has_length else None,
    }


def shown(value: Any, kind: Kind, arrow_type: pa.DataType) -> Any:
    """Returns a kept value as a preview shows it, in the type that its column has now.

    Whole numbers that protobuf's JSON, whose numbers are doubles, would change are texts.
    """
    if value is None:
        return None
    if kind is Kind.TIME:
        return moment_text(value, arrow_type)
    if types.is_decimal(arrow_type) and kind is Kind.NUMBER:
        return str(Decimal(value).quantize(Decimal(1).scaleb(-arrow_type.scale)))
    if types.is_floating(arrow_type):
        value = float(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_whole and abs(value) > _EXACT else json_value(value)


def _frequent_values(sketch: ColumnSketch, arrow_type: pa.DataType) -> list[dict[str, Any]]:
    found = sketch.frequent.most_frequent(_MOST_FREQUENT)
    if not found or found[0][1] < 2:
        return []
    # A counter that may have missed more than it counted says nothing.
    told = [(value, count) for value, count in found if count > sketch.frequent.missed]
    return [{"value": shown(value, sketch.kind, arrow_type), "count": count} for value, count in told]


def _quantiles(sketch: ColumnSketch) -> list[Any]:
    """Numbers, or `Infinity` and `-Infinity`, which JSON does not have."""
    if sketch.quantiles.is_empty():
        return []
    found = sketch.quantiles.get_quantiles(list(QUANTILES[1:-1]))
    return [
        json_value(float(value) / _unit(sketch)) for value in (sketch.quantiles.get_min_value(), *found, sketch.quantiles.get_max_value())
    ]


def _histogram(sketch: ColumnSketch, arrow_type: pa.DataType) -> dict[str, list[float]] | None:
    if sketch.quantiles.is_empty():
        return None
    edges = _edges(sketch, arrow_type)
    if edges is None:
        return None
    ranks = [sketch.quantiles.get_rank(float(edge), False) for edge in edges[:-1]]
    ranks.append(sketch.quantiles.get_rank(float(edges[-1]), True))
    counts = np.diff(ranks) * sketch.quantiles.n
    return {"edges": (edges / _unit(sketch)).tolist(), "counts": counts.tolist()}


def _edges(sketch: ColumnSketch, arrow_type: pa.DataType) -> Any:
    least, greatest = sketch.quantiles.get_min_value(), sketch.quantiles.get_max_value()
    first, last = (float(value) for value in sketch.quantiles.get_quantiles([0.01, 0.99]))
    if math.isfinite(first) and math.isfinite(last) and first < last and not greatest - least <= _FAR_OUT * (last - first):
        least, greatest = first, last
    if not math.isfinite(greatest - least):
        return None
    if least == greatest:
        return np.array([least, greatest])
    step = 86_400 * _MICROSECONDS if types.is_date(arrow_type) else 1
    has_steps = types.is_date(arrow_type) or types.is_integer(arrow_type)
    if has_steps and (greatest - least) / step < _RANGES:
        # A range for each value.
        return np.arange(least, greatest + 2 * step, step)
    return np.linspace(least, greatest, _RANGES + 1)


def _unit(sketch: ColumnSketch) -> int:
    return _MICROSECONDS if sketch.kind is Kind.TIME else 1
