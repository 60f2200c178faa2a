"""What is written after an incremental run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Writing(Enum):
    """What becomes of the rows that an output has; all but NOTHING are write modes of ingestion."""

    NOTHING = "NOTHING"
    APPEND = "APPEND"
    UPSERT = "UPSERT"
    OVERWRITE = "OVERWRITE"


@dataclass(frozen=True)
class IncrementalResult:
    """What an output becomes.

    Args:
        writing: How `rows` are written. UPSERT only where each key has one row, before and after, and none is without a row afterwards.
        keys: Columns that tell rows apart, for UPSERT; else none.
        rows: For APPEND those that come, for UPSERT those that replace others or come, for OVERWRITE all that there are to be: those of
            keys that were not touched, and the new ones. Without rows for NOTHING. Read once.
        computed_rows: How many rows of touched keys there are now; for APPEND None, since that is known only when they were read.
        replaced_rows: How many there were.
        vanished_keys: Touched keys that had rows and have none any more, in columns with the names of the keys.
    """

    writing: Writing
    keys: tuple[str, ...]
    rows: pa.RecordBatchReader
    computed_rows: int | None
    replaced_rows: int
    vanished_keys: pa.Table
