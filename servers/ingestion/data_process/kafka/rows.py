"""Messages become rows, or are left out with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from servers.ingestion.data_process.kafka.columns import Columns, Payload
from servers.ingestion.data_process.kafka.message import MESSAGE_UNREADABLE, TOMBSTONE, Message, Rejected, Unreadable
from servers.ingestion.data_process.kafka.origin import ORIGIN, origin_arrays
from servers.ingestion.table_errors import ValueDoesNotFit
from servers.ingestion.tables import RejectionReason


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that do not fit the dataset, as whole as they came."""

    rows: pa.RecordBatch
    rejected: Sequence[Rejected]
    """Of the rows, one each."""


@dataclass(frozen=True, slots=True)
class MessageRows:
    """What messages became."""

    rows: pa.RecordBatch | None
    """None where there is nothing to write."""
    messages: Sequence[Message]
    """Of the rows, one each."""
    rejected: Sequence[Rejected]
    """The others, in their order."""
    left_out: LeftOut | None = None
    """Those of the others that are rows and do not fit; None where there are none."""

    def first_unreadable(self) -> Rejected | None:
        """Returns the first that is no row though it should be one."""
        return next((each for each in self.rejected if each.reason == MESSAGE_UNREADABLE), None)


def rows_of(
    messages: Sequence[Message], payload: Payload, table: pa.Schema | None, *, keys: Sequence[str] = (), has_origin: bool
) -> MessageRows:
    """Returns the rows of messages.

    Args:
        messages: Of any topics, in the order in which they are to be written.
        payload: How values become rows.
        table: What the dataset has; None where there is none.
        keys: Columns that a row cannot be without. One that none of these rows has is null in each, as it is where others have it.
        has_origin: Whether rows say where they come from.

    Raises:
        ValueDoesNotFit: INVALID_ARGUMENT: a value does not go with the others of its column, and the contract refuses that.
    """
    rejected: dict[int, Rejected] = {}
    parsed, numbers = [], []
    for number, message in enumerate(messages):
        if message.value is None:
            rejected[number] = Rejected(message, "", None, TOMBSTONE)
            continue
        try:
            parsed.append(payload.parsed(message.value))
        except Unreadable as error:
            rejected[number] = Rejected(message, "", error.why, MESSAGE_UNREADABLE)
        else:
            numbers.append(number)
    if not parsed:
        return MessageRows(None, (), list(rejected.values()))
    try:
        columns = payload.columns(parsed, table)
    except ValueDoesNotFit as error:
        raise at_message(error, [messages[number] for number in numbers]) from None
    for row, bad in columns.bad.items():
        rejected[numbers[row]] = Rejected(messages[numbers[row]], bad.column, bad.value, bad.reason)
    kept = [messages[number] for row, number in enumerate(numbers) if row not in columns.bad]
    told = [rejected[number] for number in sorted(rejected)]
    left_out = _left_out(columns, [rejected.get(number) for number in numbers], has_origin=has_origin)
    if not kept:
        # What is left out goes into quarantine with a commit, so there has to be one.
        is_committed = left_out is not None and table is not None
        return MessageRows(pa.RecordBatch.from_pylist([], schema=table) if is_committed else None, (), told, left_out)
    arrays = columns.arrays
    if columns.bad:
        is_kept = np.ones(len(parsed), dtype=np.bool_)
        is_kept[list(columns.bad)] = False
        arrays = [array.filter(pa.array(is_kept)) for array in arrays]
    names, arrays = list(columns.names), list(arrays)
    for key in keys:
        if table is not None and key in table.names and key not in names:
            names.append(key)
            arrays.append(pa.nulls(len(kept), table.field(key).type))
    if has_origin:
        names += ORIGIN.names
        arrays += origin_arrays(kept)
    if table is None and all(pa.types.is_null(array.type) for array in arrays):
        why = "nothing but nulls, and the dataset has no columns yet"
        return MessageRows(None, (), [*told, *(Rejected(message, "", why, MESSAGE_UNREADABLE) for message in kept)])
    return MessageRows(pa.record_batch(arrays, names=names), kept, told, left_out)


def _left_out(columns: Columns, rejected: Sequence[Rejected | None], *, has_origin: bool) -> LeftOut | None:
    """Returns the rows that have a value which does not fit, with that value."""
    found = {row: each for row, each in enumerate(rejected) if each is not None and each.reason == RejectionReason.VALUE_DOES_NOT_FIT.value}
    if not found:
        return None
    rows = pa.array(found)
    names = list(columns.names)
    arrays = [columns.texts.get(name, array).take(rows) for name, array in zip(names, columns.arrays, strict=True)]
    if has_origin:
        names += ORIGIN.names
        arrays += origin_arrays([each.message for each in found.values()])
    return LeftOut(pa.record_batch(arrays, names=names), list(found.values()))


def at_message(error: ValueDoesNotFit, messages: Sequence[Message]) -> ValueDoesNotFit:
    """Returns the error with the message in which the value is.

    Args:
        error: With the number of a row.
        messages: Of the rows.
    """
    if (row := error.metadata.pop("row", None)) is None:
        return error
    message = messages[int(row) - 1]
    error.message = error.message.replace(f"in row {row} of the delivery", f"in message {message.place}")
    error.args = (error.message,)
    error.metadata |= {"topic": message.topic, "partition": str(message.partition), "offset": str(message.offset)}
    return error
