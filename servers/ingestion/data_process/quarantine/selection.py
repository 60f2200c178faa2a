"""Rows in quarantine that somebody names, or describes by a filter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.data_process.quarantine.contents import Contents, Group
from servers.ingestion.data_process.quarantine.filtered_columns import COLUMNS, row_filter
from servers.ingestion.data_process.quarantine.folder import RowsFile


class Selection:
    """Some of the rows in quarantine.

    Args:
        contents: What is there.
        wanted: `ids`, and `filter`, which selects further rows: all where it is empty, and none where it is None.

    Raises:
        aip_filter.FilterError: If the filter is wrong.
    """

    def __init__(self, contents: Contents, wanted: Mapping[str, Any]) -> None:
        self._contents = contents
        self._ids = wanted["ids"]
        self._filter = None if wanted["filter"] is None else row_filter(wanted["filter"])

    def files(self) -> list[RowsFile]:
        """Returns the files that may have such rows, in the order in which they were written."""
        found = self._contents.found.rows
        if not self._ids and self._filter is not None:
            found = tuple(filter(self._filter.may_match, found))
        return list(self._contents.files(sorted(found, key=attrgetter("path"))))

    def groups(self, file: RowsFile) -> Iterator[Group]:
        """Gives the rows of a file."""
        for group in self._contents.groups(file, () if self._filter is None else COLUMNS):
            mask = pc.is_in(group.rows.column("id"), value_set=pa.array(self._ids, pa.string()))
            if self._filter is not None:
                mask = pc.or_(mask, self._filter.mask(file, group.rows))
            if mask.true_count:
                yield group.filtered(mask)

    def unknown_ids(self) -> list[str]:
        """Returns the ids that no row has, in the order in which they were given."""
        left = dict.fromkeys(self._ids)
        for file in self.files():
            for group in self.groups(file):
                for each in group.rows.column("id").to_pylist():
                    left.pop(each, None)
            if not left:
                break
        return list(left)
