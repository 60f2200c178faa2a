"""Runs one SELECT over Arrow relations."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset as pads

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import EngineFailed, typed_error
from servers.runtime.errors import DomainError

Relation: TypeAlias = pa.Table | pa.RecordBatchReader | pads.Dataset
"""What can be read: a table and a dataset as often as wanted, a reader once."""

BATCH_ROWS = 65_536
"""Most rows of a batch that comes out."""


def selected(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    relations: Mapping[str, Relation],
    schema: pa.Schema | None,
    steps: tuple[str, ...],
    cancellation: Cancellation,
) -> Generator[pa.RecordBatch, None, None]:
    """Yields the rows of a SELECT as they are computed.

    Args:
        connection: Of its own until the last row is taken.
        sql: A SELECT that was checked.
        relations: What it reads, by name.
        schema: Of the rows, if it is known.
        steps: What is computed, for errors.
        cancellation: Stops it.

    Raises:
        DomainError: What went wrong: out of memory, cancelled, a value that cannot be computed, an error of an input.
    """
    reader = None
    try:
        for name, relation in relations.items():
            connection.register(name, relation)
        with cancellation.computing(connection):
            reader = connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        if schema is not None and not reader.schema.equals(schema):
            raise EngineFailed(f"DuckDB gives the columns {reader.schema}, where {schema} was bound")
        while True:
            with cancellation.computing(connection):
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
            yield batch
    except DomainError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
        raise typed_error(error, steps) from error
    finally:
        if reader is not None:
            reader.close()
        for name in relations:
            connection.unregister(name)
