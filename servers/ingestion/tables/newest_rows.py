"""Which rows of a delivery an upsert takes where keys repeat: the last one of each key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from servers.ingestion.tables.conversion import Converted

_ROW = "row number"
_FOLD_ROWS = 1_000_000


def newest_rows(batches: Iterable[Converted], keys: Sequence[str], row_count: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Marks the last row of each key.

    Holds the distinct keys of the delivery and at most a million further ones in memory, and a byte for each row.

    Args:
        batches: Of the delivery, in its order.
        keys: Columns that tell rows apart.
        row_count: Rows of the delivery.

    Returns:
        For each row of the delivery, whether it is the last one of its key.
    """
    # Columns are named by position: a key may be called anything.
    names = [*(str(i) for i in range(len(keys))), _ROW]
    kept: list[pa.Table] = []
    distinct = pending = 0
    for converted in batches:
        columns = [converted.rows.column(key) for key in keys]
        kept.append(pa.table([*columns, pa.array(converted.row_numbers)], names=names))
        pending += converted.rows.num_rows
        if pending > max(_FOLD_ROWS, distinct):
            kept, pending = [_last_of_each(kept, names)], 0
            distinct = kept[0].num_rows
    is_newest = np.zeros(row_count, dtype=np.bool_)
    if kept:
        is_newest[_last_of_each(kept, names)[_ROW].to_numpy()] = True
    return is_newest


def _last_of_each(tables: Sequence[pa.Table], names: list[str]) -> pa.Table:
    folded = pa.concat_tables(tables).group_by(names[:-1]).aggregate([(_ROW, "max")])
    return folded.rename_columns([_ROW if name == f"{_ROW}_max" else name for name in folded.column_names]).select(names)
