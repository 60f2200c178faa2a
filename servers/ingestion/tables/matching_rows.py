"""How many rows of a table have the keys of a delivery, and how many rows of the delivery have keys that are new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

_ROW = "row number"
_FOLD_ROWS = 1_000_000


def matching_rows(delivered: pa.Table, stored: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Counts what an upsert would update and add.

    Holds the keys of the delivery and a million of the table's in memory.

    Args:
        delivered: The keys of the delivery, each once and none null.
        stored: The same columns of the table's rows.

    Returns:
        Rows of the table whose key is delivered, and delivered keys that the table does not have.
    """
    names = [str(place) for place in range(delivered.num_columns)]
    numbered = delivered.rename_columns(names).append_column(_ROW, pa.array(np.arange(delivered.num_rows)))
    is_known = np.zeros(delivered.num_rows, dtype=np.bool_)
    updated = 0
    for keys in _folded(stored, names):
        found = keys.join(numbered, names, join_type="inner")[_ROW].to_numpy()
        updated += len(found)
        is_known[found] = True
    return updated, int(np.count_nonzero(~is_known))


def _folded(batches: Iterable[pa.RecordBatch], names: Sequence[str]) -> Iterable[pa.Table]:
    """Puts batches together, since each join builds its table of hashes anew."""
    pending: list[pa.RecordBatch] = []
    pending_rows = 0
    for batch in batches:
        # Columns are named by position: a key may be called anything.
        pending.append(batch.rename_columns(list(names)))
        pending_rows += batch.num_rows
        if pending_rows >= _FOLD_ROWS:
            yield pa.Table.from_batches(pending)
            pending, pending_rows = [], 0
    if pending:
        yield pa.Table.from_batches(pending)
