"""Columns that get other names, and columns that go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from servers.ingestion.column_names import check_column_name
from servers.ingestion.table_errors import ColumnTaken, InvalidColumn, InvalidSchemaChange, NoColumnLeft, named


@dataclass(frozen=True, slots=True)
class ColumnChanges:
    """What is to become of columns, all at once, so that names may be exchanged.

    Args:
        renamed: New names by old names.
        dropped: Columns that go.

    Raises:
        InvalidSchemaChange: INVALID_ARGUMENT: nothing is asked for, or things that contradict each other.
        InvalidColumn: INVALID_ARGUMENT: a new name cannot be stored.
    """

    renamed: Mapping[str, str]
    dropped: Sequence[str]

    def __post_init__(self) -> None:
        if not self.renamed and not self.dropped:
            raise InvalidSchemaChange("nothing is to be changed; name columns to rename or to drop")
        if both := [name for name in self.dropped if name in self.renamed]:
            raise InvalidSchemaChange(f"columns cannot be renamed and dropped at once: {named(both)}; choose one of both")
        if same := [old for old, new in self.renamed.items() if old == new]:
            raise InvalidSchemaChange(f"columns are renamed to what they are called already: {named(same)}; leave them out")
        olds: dict[str, str] = {}
        for old, new in self.renamed.items():
            check_column_name(new)
            if (other := olds.setdefault(new.casefold(), old)) is not old:
                text = f"columns {named([other, old])} cannot both become {new[:100]!r}, as case does not count; choose another name"
                raise InvalidSchemaChange(text)

    def applied(self, columns: Sequence[str]) -> dict[str, str]:
        """Returns the columns that stay, in their order, with the names that they have then.

        Args:
            columns: What a table has.

        Raises:
            InvalidColumn: INVALID_ARGUMENT: the table does not have a column.
            NoColumnLeft: FAILED_PRECONDITION: no column stays.
            ColumnTaken: FAILED_PRECONDITION: a column that stays has a new name already.
        """
        if unknown := [name for name in (*self.renamed, *self.dropped) if name not in columns]:
            raise InvalidColumn(unknown[0], "is not in the table", f"it has {named(columns)}")
        staying = {name: self.renamed.get(name, name) for name in columns if name not in self.dropped}
        if not staying:
            raise NoColumnLeft
        olds: dict[str, str] = {}
        for old, new in staying.items():
            other = olds.setdefault(new.casefold(), old)
            if other != old:
                raise ColumnTaken(new, other if other not in self.renamed else old)
        return staying
