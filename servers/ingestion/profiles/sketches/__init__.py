"""Sketches of columns: small, mergeable, kept for years. They load NumPy, Polars, pyarrow and datasketches."""

from servers.ingestion.profiles.sketches.column_sketch import ColumnSketch
from servers.ingestion.profiles.sketches.errors import KindsDiffer, SketchUnreadable
from servers.ingestion.profiles.sketches.kinds import Kind
from servers.ingestion.profiles.sketches.table_sketch import TableSketch

__all__ = ["ColumnSketch", "Kind", "KindsDiffer", "SketchUnreadable", "TableSketch"]
