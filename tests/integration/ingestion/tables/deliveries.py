"""Short ways to write to a table and to look at it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from servers.ingestion.tables import DatasetTable, Written


def send(table: DatasetTable, columns: dict[str, Any] | pa.Table, **options: Any) -> Written:
    """Writes columns as one delivery."""
    rows = columns if isinstance(columns, pa.Table) else pa.table(columns)
    return table.write(iter(rows.to_batches()), rows.schema, **options)


def rows_of(table: DatasetTable, version: int | None = None) -> list[dict[str, Any]]:
    """Returns all rows, sorted."""
    found = [row for batch in table.batches(version) for row in batch.to_pylist()]
    return sorted(found, key=repr)


def column(table: DatasetTable, name: str, version: int | None = None) -> list[Any]:
    """Returns a column's values, sorted."""
    return sorted((row[name] for row in rows_of(table, version)), key=repr)
