"""Rows that leave the quarantine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa

from servers.ingestion.data_process.quarantine.contents import Contents, Numbers
from servers.ingestion.data_process.quarantine.folder import GoneFile, QuarantineFolder

_SCHEMA = pa.schema([("row", pa.int64())])


class Leaving:
    """Collects numbers of rows, by what they are numbers of."""

    def __init__(self) -> None:
        self._numbers: dict[str, list[Numbers]] = defaultdict(list)

    def add(self, of: str, rows: Numbers) -> None:
        """Takes some."""
        if rows.size:
            self._numbers[of].append(rows)

    @property
    def count(self) -> int:
        """Rows collected."""
        return sum(rows.size for parts in self._numbers.values() for rows in parts)

    def numbers(self) -> Mapping[str, Numbers]:
        """Returns what was collected."""
        return {of: np.concatenate(parts) for of, parts in self._numbers.items()}


def write_gone(folder: QuarantineFolder, kind: str, leaving: Leaving, by: str) -> None:
    """Lays down which rows leave.

    Args:
        folder: Where.
        kind: `taken` or `discarded`; see `GoneFile`.
        leaving: The rows.
        by: Who takes or discards them.
    """
    for of, rows in leaving.numbers().items():
        with folder.writing(GoneFile(kind, of, by), _SCHEMA) as writer:
            writer.write_table(pa.table([pa.array(rows)], schema=_SCHEMA))


def remove_empty(folder: QuarantineFolder, contents: Contents, attempts: Collection[str]) -> None:
    """Removes files that have no row in quarantine any more.

    Args:
        folder: Where.
        contents: What is there now.
        attempts: Of the files to look into.
    """
    for file in contents.files([each for each in contents.found.rows if each.attempt in attempts]):
        if next(contents.groups(file), None) is None:
            folder.remove(file)
