"""What a writer asks for and what it is told: modes, schema contract, delivery, rejected rows, changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class WriteMode(Enum):
    """What becomes of the rows that are there."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    UPSERT = "upsert"


class ContractMode(Enum):
    """What happens to what does not match the table, in dlt's words."""

    EVOLVE = "evolve"
    """The table changes, where that loses nothing."""
    FREEZE = "freeze"
    """The whole delivery is refused."""
    DISCARD_ROW = "discard_row"
    """The row is rejected, the rest is written."""
    DISCARD_VALUE = "discard_value"
    """The value is left out, the rest of its row is written."""


@dataclass(frozen=True, slots=True)
class SchemaContract:
    """How much a delivery may change a table."""

    tables: ContractMode = ContractMode.EVOLVE
    """A table that does not exist: made, refused, or (both discards) all rows rejected."""
    columns: ContractMode = ContractMode.EVOLVE
    """A column that the table does not have: added, refused, rows with a value in it rejected, or left out. A column that the delivery
    does not have becomes null, except that FREEZE refuses it."""
    types: ContractMode = ContractMode.EVOLVE
    """A value that does not fit its column: the column widened, the delivery refused, the row rejected, or null in its place."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Names a write, so that it happens once however often it is sent."""

    producer: str
    """Who sends, and from which partition: one name for each stream of deliveries that are sent one after the other."""
    sequence: int
    """Grows from delivery to delivery of a producer, 0 or more. What is not above the highest one written counts as written."""
    after: int | None = None
    """The highest one that has to be written, 0 = none; where it is another, nothing is done. None = whichever."""


class RejectionReason(Enum):
    """Why a row was not written."""

    VALUE_DOES_NOT_FIT = "VALUE_DOES_NOT_FIT"
    COLUMN_UNKNOWN = "COLUMN_UNKNOWN"
    KEY_IS_NULL = "KEY_IS_NULL"
    TABLE_UNKNOWN = "TABLE_UNKNOWN"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was not written; of several reasons the first one."""

    row: int
    """Number in the delivery, from 0."""
    column: str
    """Empty where the whole row is the problem."""
    value: str | None
    """As text, at most 1000 characters; None for null."""
    reason: RejectionReason


class ChangeKind(Enum):
    """How a delivery and a table differ."""

    TABLE_CREATED = "TABLE_CREATED"
    COLUMN_ADDED = "COLUMN_ADDED"
    COLUMN_MISSING = "COLUMN_MISSING"
    """Becomes null in the new rows."""
    TYPE_WIDENED = "TYPE_WIDENED"
    TYPE_CONFLICT = "TYPE_CONFLICT"
    """No type holds the values of both; values that fit the table's type are written, others are refused."""
    TYPE_CHANGED = "TYPE_CHANGED"
    """To one that does not hold all values of the old one, as by a rollback."""
    COLUMN_RENAMED = "COLUMN_RENAMED"
    COLUMN_DROPPED = "COLUMN_DROPPED"
    COLUMNS_REORDERED = "COLUMNS_REORDERED"


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference between a delivery and a table, or two schemas of a table. Types are written as Arrow does."""

    kind: ChangeKind
    column: str = ""
    from_type: str = ""
    to_type: str = ""
    depends_on_values: bool = False
    """The change happens only if there is a value that does not fit without it."""
    new_name: str = ""
    """Of a column that is renamed."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did."""

    version: int | None
    """The table's version with the rows; None where there is no table."""
    rows_received: int
    rows_written: int
    """Rows added or updated. Of rows with equal keys in one upsert only the last counts."""
    rows_updated: int
    rows_rejected: int
    was_delivered_before: bool
    """The delivery had been written, so nothing was done now."""
    schema_changes: tuple[SchemaChange, ...]
