"""What a filter needs of a row, and filters for those who need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servers.ingestion.data_process.quarantine.row_filter import RowFilter

COLUMNS = ("column", "reason")
"""What a filter may ask of a row beside what is the same for all rows of a file."""


def row_filter(text: str) -> RowFilter:
    """Returns a filter; see `RowFilter`."""
    # It brings SQLAlchemy along, and most data processes never filter.
    from servers.ingestion.data_process.quarantine.row_filter import RowFilter

    return RowFilter(text)
