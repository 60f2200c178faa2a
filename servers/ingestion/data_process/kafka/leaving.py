"""Rows of messages on their way into quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

import pyarrow as pa

from servers.ingestion.data_process.kafka.message import Message
from servers.ingestion.data_process.kafka.rows import MessageRows
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.data_process.quarantine.left_out import LeftOutRows
from servers.ingestion.data_process.quarantine.staging import Numbered, Staging
from servers.ingestion.tables import Delivery, RejectedRow
from servers.ingestion.tables.writing import LastSequence


class Leaving:
    """What one commit of a subscription leaves out: rows that the table rejects, and those that could not even be of its types.

    Args:
        folder: The quarantine.
        origin: The subscription; see `quarantine.origin`.
        rows: Those that are to be written, and those that are not; the former exist.
    """

    def __init__(self, folder: QuarantineFolder, origin: str, rows: MessageRows) -> None:
        self._folder = folder
        self._origin = origin
        self._rows = rows
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Returns itself."""
        self._by_contract, self._staging = self._staged(self._rows.rows, self._rows.messages)
        self._misfits: Staging | None = None
        if (left_out := self._rows.left_out) is not None:
            told, self._misfits = self._staged(left_out.rows, [each.message for each in left_out.rejected])
            for number, each in enumerate(left_out.rejected):
                told.add(number, each.column, each.value, each.reason)
        return self

    def __exit__(self, *_error: object) -> None:
        """Removes what lies on local disk."""
        self._stack.close()

    def add(self, row: RejectedRow) -> None:
        """Takes a row that the table rejects."""
        self._by_contract.add(row.row, row.column, row.value, row.reason.value)

    def marks(self, last_sequence: LastSequence, rejected: int) -> Sequence[Delivery]:
        """Lays the rows down; see `Staging.marks`."""
        left_out, misfits = self._rows.left_out, self._misfits
        found = self._staging.marks(last_sequence, rejected)
        return found if misfits is None or left_out is None else (*found, *misfits.marks(last_sequence, len(left_out.rejected)))

    def _staged(self, rows: pa.RecordBatch | None, messages: Sequence[Message]) -> tuple[LeftOutRows, Staging]:
        assert rows is not None  # noqa: S101  # there is a commit
        told = self._stack.enter_context(LeftOutRows(self._folder.spool_folder))
        again = [Numbered(rows, None)]
        return told, Staging(self._folder, self._origin, rows.schema, lambda: again, told, place_of=lambda row: messages[row].place)
