"""What a caller may say about a file, and what a file may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import pyarrow as pa


class Format(Enum):
    """How rows are written in a file."""

    CSV = "csv"
    JSON = "json"
    """One document: an array of objects, or an object that has one."""
    NDJSON = "ndjson"
    """One object a line."""
    PARQUET = "parquet"
    AVRO = "avro"
    ORC = "orc"
    ARROW = "arrow"
    """Arrow's IPC, as a file (Feather 2) or as a stream."""
    EXCEL = "excel"
    """`.xlsx`, `.xls` and `.ods`."""


class Compression(Enum):
    """What a whole file is compressed with. Compression inside Parquet, Avro, ORC and Arrow is theirs."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZ2 = "bz2"
    XZ = "xz"
    LZ4 = "lz4"
    """The frame format."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the sender says about a file."""

    format: Format | None = None
    """Format; None takes it from the first bytes, then from the name."""
    compression: Compression | None = None
    """Compression; None takes it from the first bytes."""
    delimiter: str = ""
    """CSV: what separates cells, one ASCII character; empty finds out among comma, semicolon, tab and `|`."""
    quote: str = '"'
    """CSV: what cells may be wrapped in, one ASCII character; empty means that nothing is quoted."""
    escape: str = ""
    """CSV: what takes the meaning from the next character, one ASCII character; empty means none (a quote is doubled)."""
    has_header: bool = True
    """CSV and Excel: whether the first row has the names; otherwise columns are called `column_1`, `column_2`, …"""
    encoding: str = "utf-8"
    """CSV: `utf-8` (with or without a byte order mark), `utf-16`, `latin-1` or `windows-1252`."""
    null_values: tuple[str, ...] = ("", "NULL", "null", "NA", "N/A", "NaN", "nan")
    """CSV: cells that are missing values. Quoted, they are text in a column of text."""
    skip_rows: int = 0
    """CSV and Excel: lines (rows of the sheet) before the header that are not read."""
    sheet: str = ""
    """Excel: name of the sheet; empty means the first."""
    json_path: str = ""
    """JSON: key of the top-level object that has the array; empty means the top-level array, or the only array of objects there."""
    column_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    """Types of columns by name, instead of the ones that are found."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """What reading one file may cost. Files beyond it are refused."""

    batch_rows: int = 65_536
    """Most rows a batch."""
    batch_bytes: int = 16 * 2**20
    """About the most bytes a batch, in Arrow's memory; a batch has at least one row."""
    max_columns: int = 10_000
    """Most columns."""
    max_cell_bytes: int = 16 * 2**20
    """Most bytes of one text or binary value, and of one row of JSON."""
    max_decompressed_bytes: int = 64 * 2**30
    """Most bytes that a file may have once inflated."""
    max_ratio: float = 250.0
    """Most times that a file may grow when inflated, once it is past `byte_streams.RATIO_FROM_BYTES`."""
    inference_rows: int = 0
    """Rows that types are found from; 0 means all of them. A value after them that is not of the type is an error, never a null."""
