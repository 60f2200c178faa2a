"""Keeps data that were asked for before columns were renamed or dropped from landing where nobody meant them to.

Data are matched by name. After a rename, what still comes under the old name would make that column anew, and where two columns exchange
their names it would land in the other one. So each commit that may rename or drop columns marks its own version in the log, which costs who
looks there nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deltalake import DeltaTable

from servers.ingestion.table_errors import ColumnsChanged
from servers.ingestion.tables.contract import Delivery
from servers.ingestion.tables.delta_log import TableLocation
from servers.ingestion.tables.schema_history import changed_columns

_CHANGES = "mlmesh.columns"
"""Producer of commits that may rename or drop columns; the sequence of each is the version that it makes."""


def column_change(version: int) -> Delivery:
    """Returns what a commit marks that may rename or drop columns.

    Args:
        version: The one that it makes.
    """
    return Delivery(_CHANGES, version)


class ColumnFence:
    """The columns as somebody saw them who wants to write.

    Args:
        location: The table.
        seen_version: The version that he saw; None = the one that the first attempt to write finds.
    """

    def __init__(self, location: TableLocation, seen_version: int | None) -> None:
        self._location = location
        self._seen_version = seen_version
        self._looked_at: int | None = None
        self._changed: Mapping[str, str] = {}

    def look(self, table: DeltaTable) -> None:
        """Takes a version as the one that was seen, where none was.

        Args:
            table: At the version that is about to be written to.
        """
        if self._seen_version is None:
            self._seen_version = table.version()

    def check(self, table: DeltaTable, names: Iterable[str]) -> None:
        """Lets columns pass that mean what they meant.

        Args:
            table: At the version that is about to be written to.
            names: Of columns that are about to be written.

        Raises:
            ColumnsChanged: FAILED_PRECONDITION: one was renamed or dropped since.
        """
        last = table.transaction_version(_CHANGES)
        if last is None or self._seen_version is None or last <= self._seen_version:
            return
        if last != self._looked_at:
            self._changed = changed_columns(self._location, last, self._seen_version)
            self._looked_at = last
        if found := {name: self._changed[name] for name in names if name in self._changed}:
            raise ColumnsChanged(self._location.name, found)
