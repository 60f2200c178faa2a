"""How a row in quarantine is written, and named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ABOUT = pa.schema(
    [
        ("id", pa.string()),
        ("ingestion_id", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
        ("quarantine_time", pa.timestamp("us", "UTC")),
        ("place", pa.string()),
    ]
)
"""What a file says of a row beside its data; the number of the row is counted from 1. Files of earlier versions have no `place`."""

DATA = "data"
"""Column with the row itself: a struct of the columns in which it was read, so in their exact types."""

_ATTEMPT_CHARACTERS = 32


def file_schema(rows: pa.Schema) -> pa.Schema:
    """Returns the schema of a file.

    Args:
        rows: Of the rows as they were read.
    """
    return ABOUT.append(pa.field(DATA, pa.struct(list(rows))))


def about_of(rows: pa.RecordBatch) -> pa.Table:
    """Returns what a file says of its rows beside their data.

    Args:
        rows: All columns of the file.
    """
    columns = {
        each.name: rows.column(each.name) if each.name in rows.schema.names else pa.nulls(rows.num_rows, each.type) for each in ABOUT
    }
    return pa.table(columns, schema=ABOUT)


def ids_of(attempt: str, rows: pa.Array) -> pa.Array:
    """Returns the identifiers that rows get when they are left out for the first time; they keep them as long as they are in quarantine.

    Args:
        attempt: What left them out.
        rows: Their numbers, from 1.
    """
    return pc.binary_join_element_wise(attempt, rows.cast(pa.string()), "-")


def origins_of(ids: pa.Array) -> tuple[pa.Array, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Returns what left rows out at first, and their numbers there."""
    return (
        pc.utf8_slice_codeunits(ids, 0, _ATTEMPT_CHARACTERS),
        pc.utf8_slice_codeunits(ids, _ATTEMPT_CHARACTERS + 1).cast(pa.int64()).to_numpy(zero_copy_only=False),
    )


def columns_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Returns rows as they were read, from rows of a file."""
    data = rows.column(DATA)
    return pa.record_batch(data.flatten(), schema=pa.schema(list(data.type)))
