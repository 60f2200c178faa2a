"""Runs one stage on one partition: what every task of every engine does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.python_kernel import applied
from servers.processing.kernels.sql_kernel import Relation, selected
from servers.processing.stages.stage import Stage


def stage_rows(
    stage: Stage, inputs: Sequence[Relation], connection: duckdb.DuckDBPyConnection, cancellation: Cancellation
) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a stage for one partition.

    Args:
        stage: What is computed.
        inputs: The partition's rows of each input, in the order of the stage's inputs; each is read once.
        connection: A session, of its own until the last row is taken. A worker can use it for the next task then.
        cancellation: Stops it.

    Raises:
        DomainError: What went wrong, with the names of the stage's steps.
    """
    relations = {f"input_{place}": relation for place, relation in enumerate(inputs)}
    rows = selected(connection, stage.sql, relations, stage.sql_schema, stage.steps, cancellation)
    yield from rows if stage.function is None else applied(stage.function, rows, stage.schema, cancellation)
