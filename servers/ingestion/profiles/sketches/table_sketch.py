"""Sketches of all columns of some rows: of a data file, or of a version of a dataset."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from servers.ingestion.profiles.sketches.column_sketch import ColumnSketch
from servers.ingestion.profiles.sketches.encoding import packed, unpacked


class TableSketch:
    """Sketches by the names of their columns.

    Args:
        rows: How many there are.
        columns: The sketches. A column that has none has nothing but nulls.
    """

    def __init__(self, rows: int = 0, columns: dict[str, ColumnSketch] | None = None) -> None:
        self.rows = rows
        self.columns = columns or {}

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch]) -> TableSketch:
        """Makes the sketch of rows. One batch is in memory at a time."""
        sketch = cls()
        for batch in batches:
            sketch.rows += batch.num_rows
            for name, array in zip(batch.schema.names, batch.columns, strict=True):
                sketch.columns.setdefault(name, ColumnSketch()).add(array)
        return sketch

    def column(self, name: str) -> ColumnSketch:
        """Returns the sketch of a column."""
        return self.columns.get(name) or ColumnSketch.of_nulls(self.rows)

    def merge(self, other: TableSketch) -> None:
        """Adds the rows of another sketch.

        Raises:
            KindsDiffer: A column is of another kind there.
        """
        for name in other.columns:
            mine = self.columns.setdefault(name, ColumnSketch.of_nulls(self.rows))
            mine.merge(other.columns[name])
        for name in self.columns.keys() - other.columns.keys():
            self.columns[name].merge(ColumnSketch.of_nulls(other.rows))
        self.rows += other.rows

    def to_bytes(self) -> bytes:
        """Returns the sketches as bytes."""
        return packed({"rows": self.rows, "columns": list(self.columns)}, [each.to_bytes() for each in self.columns.values()])

    @classmethod
    def from_bytes(cls, data: bytes) -> TableSketch:
        """Reads what `to_bytes` wrote.

        Raises:
            SketchUnreadable: It is something else, or damaged.
        """
        facts, parts = unpacked(data)
        return cls(facts["rows"], dict(zip(facts["columns"], map(ColumnSketch.from_bytes, parts), strict=True)))
