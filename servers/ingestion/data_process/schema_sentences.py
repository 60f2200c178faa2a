"""Changes of a table's schema, as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from servers.ingestion.tables import ChangeKind, SchemaChange


def sentences(changes: Iterable[SchemaChange]) -> list[str]:
    """Returns one sentence a change. The columns of a table that is made are not told one by one."""
    changes = list(changes)
    is_new = any(change.kind is ChangeKind.TABLE_CREATED for change in changes)
    added = sum(change.kind is ChangeKind.COLUMN_ADDED for change in changes)
    return [_sentence(change, added) for change in changes if not (is_new and change.kind is ChangeKind.COLUMN_ADDED)]


def changed_columns(changes: Iterable[SchemaChange]) -> list[str]:
    """Returns the columns that others may know and that are not what they were."""
    unharmed = (ChangeKind.TABLE_CREATED, ChangeKind.COLUMN_ADDED, ChangeKind.COLUMN_MISSING, ChangeKind.COLUMNS_REORDERED)
    return [change.column for change in changes if change.kind not in unharmed]


def _sentence(change: SchemaChange, added: int) -> str:
    column = f"column {change.column!r}"
    match change.kind:
        case ChangeKind.TABLE_CREATED:
            return f"the table was created with {added} column{'' if added == 1 else 's'}"
        case ChangeKind.COLUMN_ADDED:
            return f"{column} was added ({change.to_type})"
        case ChangeKind.COLUMN_MISSING:
            return f"{column} was not delivered, and is null in the new rows"
        case ChangeKind.TYPE_WIDENED:
            return f"{column} was widened from {change.from_type} to {change.to_type}"
        case ChangeKind.TYPE_CHANGED:
            return f"{column} was changed from {change.from_type} to {change.to_type}"
        case ChangeKind.COLUMN_RENAMED:
            return f"{column} was renamed to {change.new_name!r}"
        case ChangeKind.COLUMN_DROPPED:
            return f"{column} was dropped"
        case ChangeKind.COLUMNS_REORDERED:
            return "the columns were put in another order"
        case ChangeKind.TYPE_CONFLICT:
            return f"{column} is {change.from_type} and was delivered as {change.to_type}; values that do not fit were not written"
