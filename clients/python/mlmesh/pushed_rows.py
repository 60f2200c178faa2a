"""Rows that are pushed into a feature view, and what becomes of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.arrow_streams import arrow_stream, gives_arrow
from mlmesh.errors import InvalidArgument
from mlmesh.json_values import NotJson, fill_struct

_LARGEST_EXACT = 2**53

PushedRows = Iterable[Mapping[str, Any]] | bytes | Any
"""Mappings by column; a table of Arrow, pandas or Polars; or bytes of a stream of Arrow's IPC format."""


@dataclass(frozen=True)
class PushResult:
    """What became of pushed rows.

    Args:
        version: Version of the view.
        written_rows: Rows that the online store has now.
        kept_newer_rows: Rows that changed nothing online, since it had newer ones of their entities, or the same.
        ingestion_id: The ingestion that brings them into the dataset; empty where they do not go there. It goes on after the answer.
    """

    version: int
    written_rows: int
    kept_newer_rows: int
    ingestion_id: str


def push_result_value(message: pb.PushFeaturesResponse) -> PushResult:
    """Reads what became of pushed rows."""
    return PushResult(message.version, message.written_rows, message.kept_newer_rows, message.ingestion_id)


def push_target(*, online: bool, offline: bool) -> str:
    """Returns where rows go, as the contract calls it.

    Raises:
        mlmesh.errors.InvalidArgument: Nowhere.
    """
    match online, offline:
        case True, True:
            return "online_and_offline"
        case True, False:
            return "online"
        case False, True:
            return "offline"
    raise InvalidArgument("rows are pushed online, offline or both", reason="PUSH_TARGET_MISSING")


def push_data(rows: PushedRows) -> ingestion_pb2.InlineRows | bytes:
    """Returns rows as they travel: as JSON objects, or as a stream of Arrow's IPC format.

    Args:
        rows: The rows.

    Raises:
        mlmesh.errors.InvalidArgument: They are none, or have what cannot be sent.
    """
    if isinstance(rows, bytes):
        return rows
    return arrow_stream(rows) if gives_arrow(rows) else _inline(rows)


def _inline(rows: Any) -> ingestion_pb2.InlineRows:
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise InvalidArgument(
            f"a {type(rows).__name__} is no list of rows",
            reason="ROWS_INVALID",
            hint="give a list with a mapping a row, or a table of Arrow, pandas or Polars",
        )
    target = ingestion_pb2.InlineRows()
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidArgument(
                f"row {number} is a {type(row).__name__}, not a mapping",
                reason="ROWS_INVALID",
                hint="a row names its columns: {'user_id': 7}",
            )
        try:
            fill_struct(target.rows.add(), {name: _as_text(value) for name, value in row.items()})
        except NotJson as error:
            place = f"row {number}, {error.path}" if error.path else f"row {number}"
            raise InvalidArgument(
                f"{place}: {error.problem}", reason="VALUE_NOT_JSON", hint="a table of Arrow, pandas or Polars keeps every type and digit"
            ) from None
    if not target.rows:
        raise InvalidArgument("there are no rows", reason="SOURCE_EMPTY")
    return target


def _as_text(value: Any) -> Any:
    """What a number of JSON would round, and bytes: as the text that stands for them in rows."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, int) and abs(value) > _LARGEST_EXACT else value
