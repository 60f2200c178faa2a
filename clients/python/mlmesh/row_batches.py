"""Batches of rows as they travel on a stream, and what they are acknowledged with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

from mlops.ingestion.v1 import stream_service_pb2

from mlmesh.arrow_streams import arrow_stream, gives_arrow
from mlmesh.errors import InvalidArgument
from mlmesh.ingestions import RejectedRow

Rows = Iterable[Mapping[str, Any]] | bytes | bytearray | memoryview | Any
"""Mappings by column; bytes of NDJSON; or a table of Arrow, pandas or Polars, or whatever else gives its columns as Arrow."""

_MOST_BYTES = 4 * 1024 * 1024
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _plain(value))


@dataclass(frozen=True)
class Acknowledgement:
    """A batch is in the dataset.

    Args:
        sequence: Number of the batch.
        version: The version of the dataset that has it; several batches may share one.
        rows_written: Rows of the batch that were written.
        rows_rejected: Rows of the batch that were left out.
        rejected: The first of the rows that were left out.
        was_written_before: Whether it had been written before its connection broke off; the counts are 0 then.
    """

    sequence: int
    version: int
    rows_written: int
    rows_rejected: int
    rejected: tuple[RejectedRow, ...]
    was_written_before: bool


def acknowledgement_value(message: stream_service_pb2.BatchAcknowledgement) -> Acknowledgement:
    """Reads what a batch is acknowledged with."""
    return Acknowledgement(
        sequence=message.sequence,
        version=message.version,
        rows_written=message.rows_written,
        rows_rejected=message.rows_rejected,
        rejected=tuple(RejectedRow(one.row, one.column, one.value, one.reason) for one in message.rejected),
        was_written_before=message.was_written_before,
    )


def batch_message(rows: Rows) -> stream_service_pb2.RowBatch:
    """Returns rows as they travel, without a number.

    Args:
        rows: The rows of one batch.

    Raises:
        mlmesh.errors.InvalidArgument: They are none, too many, or have what cannot be sent.
    """
    if isinstance(rows, bytes | bytearray | memoryview):
        return stream_service_pb2.RowBatch(ndjson=_checked(bytes(rows)))
    if gives_arrow(rows):
        return stream_service_pb2.RowBatch(arrow=_checked(arrow_stream(rows)))
    return stream_service_pb2.RowBatch(ndjson=_checked(_ndjson(rows)))


def _ndjson(rows: Any) -> bytes:
    if isinstance(rows, Mapping | str) or not isinstance(rows, Iterable):
        raise InvalidArgument(
            f"a {type(rows).__name__} is no list of rows",
            reason="ROWS_INVALID",
            hint="give a list with a mapping a row, bytes of NDJSON, or a table of Arrow, pandas or Polars",
        )
    lines, size_bytes = [], 0
    for number, row in enumerate(rows, start=1):
        line = _line(number, row)
        size_bytes += len(line) + 1
        # Rows that never end are given up early.
        if size_bytes > _MOST_BYTES:
            break
        lines.append(line)
    else:
        if not lines:
            raise InvalidArgument("there are no rows", reason="SOURCE_EMPTY")
        return b"\n".join(lines)
    raise _too_large(f"more than {_MOST_BYTES:,} bytes from row {number} on")


def _line(number: int, row: Any) -> bytes:
    if not isinstance(row, Mapping):
        raise InvalidArgument(
            f"row {number} is a {type(row).__name__}, not a mapping", reason="ROWS_INVALID", hint="a row names its columns: {'id': 1}"
        )
    if unnamed := [name for name in row if not isinstance(name, str)]:
        raise InvalidArgument(f"row {number} has the column {unnamed[0]!r}, whose name is not text", reason="ROWS_INVALID")
    try:
        return _ENCODER.encode(dict(row)).encode()
    except UnicodeEncodeError:
        problem = "a text is not Unicode"
    except RecursionError:
        problem = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        problem = str(error)
    hint = "NaN is None here, a Decimal is text and column_types={'price': 'decimal128(10, 2)'}; Arrow tables keep every type"
    raise InvalidArgument(f"row {number} cannot be sent: {problem}", reason="VALUE_NOT_JSON", hint=hint)


def _plain(value: Any) -> Any:
    if isinstance(value, date | time):
        # The NaT of pandas is a datetime, and unlike itself.
        if value != value:
            raise ValueError(f"{value} is no moment")
        return value.isoformat()
    if isinstance(value, Decimal | bytes | bytearray | memoryview):
        raise TypeError(f"{value!r:.100} is a {type(value).__name__}")
    if isinstance(value, Mapping):
        return dict(value)
    # Scalars and arrays of numpy.
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r:.100} is a {type(value).__name__}, which JSON does not have")


def _checked(data: bytes) -> bytes:
    if not data:
        raise InvalidArgument("there are no rows", reason="SOURCE_EMPTY")
    if len(data) > _MOST_BYTES:
        raise _too_large(f"{len(data):,} bytes")
    return data


def _too_large(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"the rows have {what}; a batch has room for {_MOST_BYTES:,}",
        reason="BATCH_TOO_LARGE",
        hint="send them in several batches, or as a file with mesh.ingestion.ingest_data",
    )
