"""Filters over rows in quarantine, and their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from aip_filter import Expression, to_predicate
from aip_filter.syntax import Conjunction, Negation, Node, Restriction
from servers.ingestion.data_process.quarantine.filtered_columns import COLUMNS
from servers.ingestion.data_process.quarantine.folder import RowsFile
from servers.ingestion.data_process.quarantine.origin import facts_of
from servers.ingestion.quarantine.filtering import SCHEMA, parsed

_OF_FILES = ("ingestion_id", "producer", "subscription", "quarantine_time")


class RowFilter:
    """A filter over rows in quarantine.

    Args:
        text: AIP-160; empty for all.

    Raises:
        aip_filter.FilterError: If it is wrong.
    """

    def __init__(self, text: str) -> None:
        self._expression = parsed(text)
        self._matches = to_predicate(self._expression, SCHEMA)

    def may_match(self, file: RowsFile) -> bool:
        """Says whether a file may have rows that match; reads nothing."""
        return self._expression.root is None or _decided(self._expression.root, _facts(file)) is not False

    def mask(self, file: RowsFile, rows: pa.RecordBatch) -> pa.BooleanArray:
        """Says of each row whether it matches.

        Args:
            file: Where the rows are.
            rows: With `filtered_columns.COLUMNS`.
        """
        facts = _facts(file)
        columns, reasons = (rows.column(name).dictionary_encode() for name in COLUMNS)
        # Rows are many, and columns and reasons few.
        pairs = columns.indices.to_numpy().astype(np.int64) * len(reasons.dictionary) + reasons.indices.to_numpy()
        found, places = np.unique(pairs, return_inverse=True)
        matches = []
        for column, reason in (divmod(int(pair), len(reasons.dictionary)) for pair in found):
            row = {"column": columns.dictionary[column].as_py(), "reason": reasons.dictionary[reason].as_py()}
            matches.append(self._matches({**facts, **row}))
        return pa.array(np.array(matches, np.bool_)[places])


def _facts(file: RowsFile) -> dict[str, Any]:
    return {**facts_of(file.origin), "quarantine_time": file.quarantine_time}


def _decided(node: Node, facts: Mapping[str, Any]) -> bool | None:
    """Whether it holds for every row of a file; None where that depends on the row."""
    if isinstance(node, Restriction):
        return to_predicate(Expression("", node), SCHEMA)(facts) if node.path[0] in _OF_FILES else None
    if isinstance(node, Negation):
        inner = _decided(node.operand, facts)
        return None if inner is None else not inner
    decided = [_decided(operand, facts) for operand in node.operands]
    settles = not isinstance(node, Conjunction)
    return settles if settles in decided else None if None in decided else not settles
