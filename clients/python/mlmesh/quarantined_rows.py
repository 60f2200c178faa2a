"""What a row in quarantine is to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops.ingestion.v1 import quarantine_service_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.json_values import NotJson, fill_struct, plain_struct


@dataclass(frozen=True)
class QuarantinedRow:
    """A row that was left out of a dataset.

    Args:
        id: Identifier, unique in the quarantine of its dataset; it stays the same where a replay leaves the row out again.
        ingestion_id: The ingestion that left it out last; empty where a stream of rows or a subscription did.
        row: Number of the row in the data of that ingestion, or among the rows that one commit of a stream or a subscription was about; the
            first is 1.
        column: Its column that was the reason; empty where the whole row was.
        value: The value there as text, cut after 1,000 characters; empty for null.
        reason: Why it was left out, in UPPER_SNAKE_CASE, or the type of the expectation that it breaks.
        data: The whole row as JSON has it. Whole numbers beyond 2^53 and decimals are text, bytes are base64.
        quarantine_time: When it was left out.
        producer: The producer whose stream left it out; empty where none did.
        subscription: The subscription that left it out; empty where none did.
        place: Where a row of a stream or a subscription comes from: `batch 7, row 3`, or topic, partition and offset, `orders/0@1841`.
    """

    id: str
    ingestion_id: str
    row: int
    column: str
    value: str
    reason: str
    data: dict[str, Any]
    quarantine_time: datetime
    producer: str = ""
    subscription: str = ""
    place: str = ""


def quarantined_row_value(message: quarantine_service_pb2.QuarantinedRow) -> QuarantinedRow:
    """Reads a row."""
    return QuarantinedRow(
        id=message.id,
        ingestion_id=message.ingestion_id,
        row=message.row,
        column=message.column,
        value=message.value,
        reason=message.reason,
        data=plain_struct(message.data),
        quarantine_time=message.quarantine_time.ToDatetime(UTC),
        producer=message.producer,
        subscription=message.subscription,
        place=message.place,
    )


def repair_messages(repairs: Mapping[str, Mapping[str, Any]]) -> list[quarantine_service_pb2.RowRepair]:
    """Returns repairs as they travel.

    Args:
        repairs: New values by column, by the id of the row.

    Raises:
        InvalidArgument: A value has no place in JSON, or would lose digits there.
    """
    messages = []
    for row_id, values in repairs.items():
        message = quarantine_service_pb2.RowRepair(id=row_id)
        message.values.SetInParent()
        try:
            fill_struct(message.values, values)
        except NotJson as error:
            problem = f"the repair of row {row_id} has at {error.path} a value that {error.problem}; give text instead"
            raise InvalidArgument(problem, reason="REPAIR_NOT_JSON") from None
        messages.append(message)
    return messages
