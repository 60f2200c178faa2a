"""From the rows of a delivery to rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.table_errors import ValueDoesNotFit
from servers.ingestion.tables.contract import ContractMode, RejectedRow, RejectionReason
from servers.ingestion.tables.lossless import fit, shown

REMEDY = "correct it, or choose the contract discard_row or discard_value for types"


@dataclass(frozen=True, slots=True)
class Converted:
    """What a batch became."""

    rows: pa.RecordBatch
    row_numbers: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Where each of `rows` was in the delivery."""
    rejected: Sequence[RejectedRow]
    """In the order of the delivery."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How each column of a table is filled."""

    schema: pa.Schema
    """Of the table."""
    sources: tuple[int | None, ...]
    """Delivered column for each column of the table; None = null."""
    unknown: tuple[int, ...]
    """Delivered columns with which rows are rejected where they have a value."""
    types: ContractMode
    """What happens to values that do not fit."""
    keys: tuple[str, ...]
    """Columns that must not be null."""
    may_reject: bool
    """Whether a row may be rejected at all."""

    def apply(self, batch: pa.RecordBatch, first_row: int) -> Converted:
        """Converts a batch.

        Args:
            batch: Of the delivery's schema.
            first_row: Number of its first row in the delivery.

        Raises:
            ValueDoesNotFit: If a value does not fit, unless `types` discards it or its row.
        """
        is_bad = np.zeros(batch.num_rows, dtype=np.bool_)
        rejected: list[RejectedRow] = []

        def reject(mask: pa.BooleanArray, column: str, values: pa.Array, reason: RejectionReason) -> None:
            found = np.flatnonzero(mask.to_numpy(zero_copy_only=False) & ~is_bad)
            rejected.extend(RejectedRow(first_row + int(row), column, shown(values, int(row)), reason) for row in found)
            is_bad[found] = True

        for index in self.unknown:
            reject(pc.is_valid(batch.column(index)), batch.schema.names[index], batch.column(index), RejectionReason.COLUMN_UNKNOWN)
        columns = []
        for field, source in zip(self.schema, self.sources, strict=True):
            if source is None:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            values = batch.column(source)
            fitted = fit(values, field.type)
            columns.append(fitted.values)
            if fitted.misfits is not None and self.types is ContractMode.DISCARD_ROW:
                reject(fitted.misfits, field.name, values, RejectionReason.VALUE_DOES_NOT_FIT)
            elif fitted.misfits is not None and self.types is not ContractMode.DISCARD_VALUE:
                raise misfit(field, values, fitted.misfits, first_row, REMEDY)
        converted = pa.record_batch(columns, schema=self.schema)
        for key in self.keys:
            reject(pc.is_null(converted.column(key)), key, converted.column(key), RejectionReason.KEY_IS_NULL)
        if not rejected:
            return Converted(converted, np.arange(first_row, first_row + batch.num_rows), ())
        kept = converted.filter(pa.array(~is_bad))
        return Converted(kept, first_row + np.flatnonzero(~is_bad), sorted(rejected, key=attrgetter("row")))


def misfit(field: pa.Field, values: pa.Array, misfits: pa.BooleanArray, first_row: int | None, remedy: str) -> ValueDoesNotFit:
    """Returns the error for the first value that does not fit.

    Args:
        field: Of the table.
        values: As they came.
        misfits: Which ones do not fit.
        first_row: Number of the first value in the delivery; None where it is in the table.
        remedy: What to do.
    """
    row = misfits.index(True).as_py()
    return ValueDoesNotFit(field.name, None if first_row is None else first_row + row, str(shown(values, row)), str(field.type), remedy)
