"""Rows that clients of Feast push, as PushFeatures takes them.

Feast sends columns and looks only for those that a view has. Its times are texts without a zone, or numbers of seconds: they are taken
for UTC. Its own client names the times of a row `event_timestamp` and `created`, whatever the source of the view has, and the others as
the view does: these names are looked for where the source's are not there.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.ingestion.v1.ingestion_pb2 import InlineRows

from servers.features.definitions.records import ViewVersion
from servers.features.feast.errors import InvalidFeastRequest
from servers.features.online import FeatureType, feature_type

__all__ = ["Columns", "columns_of_texts", "rows_of"]

Columns = Mapping[str, Sequence[Any]]
"""Values by column, as JSON has them, or bytes."""

_EVENT_TIME, _WRITE_TIME = "event_timestamp", "created"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 1 << 53
_NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d+)?", re.ASCII)
_TRUTHS = {"true": True, "false": False}

_Write = Callable[[Any], Any]


def rows_of(view: ViewVersion, given: Columns) -> InlineRows:
    """Returns the rows of a view; what is wrong with their values is found by whoever takes them.

    Args:
        view: Which columns its source has.
        given: As they came; columns that the view does not have are passed over.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: there are no rows, or the columns are not equally long.
    """
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) != 1 or not max(lengths.values(), default=0):
        shown = ", ".join(f"{name[:50]!r} {length}" for name, length in list(lengths.items())[:10])
        raise InvalidFeastRequest(
            "df", f"every column has a value for each row, and there is at least one; there are {shown or 'no columns'}"
        )
    columns = {}
    for column, name, its_type in _columns_of(view):
        found = given.get(column, given.get(name))
        if found is not None and column not in columns:
            write = _write_of(its_type)
            columns[column] = [None if value is None else write(value) for value in found]
    rows = InlineRows()
    for row in zip(*columns.values(), strict=True):
        try:
            rows.rows.add().update(dict(zip(columns, row, strict=True)))
        except (ValueError, TypeError):
            raise InvalidFeastRequest("df", f"row {len(rows.rows) - 1} has a value that is no JSON") from None
    return rows


def columns_of_texts(view: ViewVersion, texts: Mapping[str, str]) -> Columns:
    """Returns the columns of one row whose values came as texts; numbers and truth values are made of them where the view has those."""
    types: dict[str, FeatureType | None] = {}
    for column, name, its_type in _columns_of(view):
        types.setdefault(column, its_type)
        types.setdefault(name, its_type)
    return {name: [_value_of(text, types.get(name))] for name, text in texts.items()}


def _columns_of(view: ViewVersion) -> Iterator[tuple[str, str, FeatureType | None]]:
    """Column of the source, name in Feast's client, and type; None of it is a time of the row."""
    for key in view.keys:
        yield key.column, key.join_key.name, feature_type(key.join_key.type)
    for feature in view.spec.features:
        yield feature.column or feature.name, feature.name, feature_type(feature.type)
    yield view.spec.event_time_column, _EVENT_TIME, None
    if view.spec.write_time_column:
        yield view.spec.write_time_column, _WRITE_TIME, None


def _write_of(its_type: FeatureType | None) -> _Write:
    if its_type is None or its_type.name == "timestamp":
        return _moment
    if its_type.is_decimal:
        return lambda value: str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    return _plain


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list):
        return list(map(_plain, value))
    # A number in a Struct is a double, and loses what a text keeps.
    return str(value) if isinstance(value, int) and abs(value) > _EXACT else value


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        return f"{value}Z" if _NAIVE.fullmatch(value) else value
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    try:
        return (_EPOCH + timedelta(seconds=value)).isoformat()
    except (OverflowError, ValueError):
        return str(value)


def _value_of(text: str, its_type: FeatureType | None) -> Any:
    if its_type is not None and its_type.name == "bool":
        return _TRUTHS.get(text.lower(), text)
    if its_type is not None and its_type.name in ("float32", "float64"):
        try:
            return float(text)
        except ValueError:
            return text
    return text
