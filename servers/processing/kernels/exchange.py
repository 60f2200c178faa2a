"""Brings rows with equal keys into one partition.

The partition comes from DuckDB's own hash, which is equal wherever DuckDB's `=`, GROUP BY and PARTITION BY hold values for equal: 0.0 and
-0.0, all NaNs, nulls, nested values. It may change with DuckDB's version, so all workers of a run need the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation, selected
from servers.processing.stages.stage import HashKey
from servers.runtime.sql_names import quoted

_PARTITION = "partition\x1f"


def hashed(
    rows: Relation, keys: tuple[HashKey, ...], count: int, connection: duckdb.DuckDBPyConnection, cancellation: Cancellation
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields the rows in pieces, each with the number of its partition.

    Args:
        rows: Of one partition of the input.
        keys: By which they are brought together.
        count: Of partitions.
        connection: A session, of its own until the last row is taken.
        cancellation: Stops it.
    """
    values = ", ".join(f"CAST({quoted(key.column)} AS {key.type})" for key in keys)
    # Hashed twice: otherwise all keys of a partition share bits by which DuckDB's hash tables place them.
    sql = f"SELECT *, CAST(hash(hash({values})) % {count} AS INTEGER) AS {quoted(_PARTITION)} FROM rows_to_move"
    for batch in selected(connection, sql, {"rows_to_move": rows}, None, (), cancellation):
        numbers = batch.column(batch.num_columns - 1).to_numpy()
        order = np.argsort(numbers, kind="stable")
        together = batch.select(batch.schema.names[:-1]).take(pa.array(order))
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        for start, end in pairwise([*starts.tolist(), batch.num_rows]):
            yield int(numbers[order[start]]), together.slice(start, end - start)
