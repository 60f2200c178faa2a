"""Expectations that rows have to meet before they are written."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from servers.ingestion.data_process.quarantine.left_out import SCHEMA, LeftOutRows
from servers.ingestion.data_process.validating import empty, report_object
from servers.ingestion.expectations import Report, Status, Suite, rejected, suite_from_json, validate

_UNEXPECTED_ROWS = 20
_MOST_VALUE_CHARACTERS = 1000


class Gate:
    """Judges the rows of a source, and lets through what may be written.

    The source is read once for the verdict. Where rows are to be left out, it is read again to see whether the others meet the suite.

    Args:
        schema: Columns of the source.
        rows: The source; each iteration reads it from the first row.
        wanted: `suite` and `mode`.
        most_rejected_rows: How many of the rows left out are told.
        left_out: Gets all of them, each with the first expectation that it breaks.
    """

    def __init__(
        self,
        schema: pa.Schema,
        rows: Iterable[pa.RecordBatch],
        wanted: Mapping[str, Any],
        most_rejected_rows: int,
        left_out: LeftOutRows | None = None,
    ) -> None:
        self._schema = schema
        self._rows = rows
        self._suite = suite_from_json(wanted["suite"])
        self._most_rejected_rows = most_rejected_rows
        self.left_out = left_out
        self._left_out = array("q")
        self.rejected: list[dict[str, Any]] = []
        report = self._judged(rows)
        self.report = report_object(report)
        mode = wanted.get("mode", "FREEZE")
        self._leaves_out = report if report.status is Status.FAILED and mode == "DISCARD_ROW" else None
        self.is_refused = report.status is Status.FAILED and mode == "FREEZE"
        if self._leaves_out is not None:
            self.is_refused = self._judged(self).status is Status.FAILED

    @property
    def left_out_count(self) -> int:
        """Rows that are left out."""
        return len(self._left_out)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Gives the rows that may be written."""
        if self._leaves_out is None:
            yield from self._rows
            return
        self._left_out, self.rejected = array("q"), []
        if self.left_out is not None:
            self.left_out.clear()
        first = 0
        for batch in self._rows:
            yield self._without_unexpected(batch, first, self._suite, self._leaves_out)
            first += batch.num_rows

    def row_of_source(self, row: int) -> int:
        """Returns the number in the source of a row that was let through; both from 0."""
        # Of the rows left out, the i-th has i others before it: it is passed where its number less i is not above the row's.
        return row + bisect_right(range(len(self._left_out)), row, key=lambda place: self._left_out[place] - place)

    def rows_of_source(self, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Does the same for many rows."""
        left_out = np.frombuffer(self._left_out, np.int64) if self._left_out else np.empty(0, np.int64)
        return rows + np.searchsorted(left_out - np.arange(left_out.size), rows, side="right")

    def _judged(self, rows: Iterable[pa.RecordBatch]) -> Report:
        return validate(self._suite, chain((empty(self._schema),), rows), unexpected_rows=_UNEXPECTED_ROWS)

    def _without_unexpected(self, batch: pa.RecordBatch, first: int, suite: Suite, report: Report) -> pa.RecordBatch:
        frame = pl.DataFrame(batch)
        rejection = rejected(suite, frame, report)
        if not rejection.mask.any():
            return batch
        self._left_out.extend((rejection.mask.arg_true() + first).to_list())
        if self.left_out is not None:
            self.left_out.add_all(_first_reasons(rejection.reasons, first))
        room = self._most_rejected_rows - len(self.rejected)
        self.rejected += [
            {"row": first + row["row"] + 1, "column": row["column"], "value": row["value"], "reason": row["rule"]}
            for row in rejection.reasons.head(max(0, room)).iter_rows(named=True)
        ]
        return batch.filter((~rejection.mask).to_arrow())


def _first_reasons(reasons: pl.DataFrame, first: int) -> pa.RecordBatch:
    """One reason a row: that of the first expectation that it breaks."""
    rows = reasons.unique("row", keep="first", maintain_order=True).select(
        pl.col("row") + first, "column", pl.col("value").str.head(_MOST_VALUE_CHARACTERS), pl.col("rule").alias("reason")
    )
    return rows.to_arrow().cast(SCHEMA).combine_chunks().to_batches()[0]
