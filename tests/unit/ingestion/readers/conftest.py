from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from servers.ingestion.readers.rows import open_rows


class Read(NamedTuple):
    table: pa.Table
    format: Format
    compression: Compression
    warnings: tuple[str, ...]


Reader = Callable[..., Read]


def read_file(path: Path, name: str = "", options: ReadOptions | None = None, limits: ReadLimits | None = None) -> Read:
    with open_rows(path, name or path.name, options or ReadOptions(), limits or ReadLimits()) as rows:
        table = pa.Table.from_batches(list(rows), rows.schema)
        return Read(table, rows.format, rows.compression, rows.warnings)


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    """Reads bytes as the file of a sender; on disk it has a name that tells nothing."""

    def from_bytes(data: bytes, name: str = "file.csv", options: ReadOptions | None = None, limits: ReadLimits | None = None) -> Read:
        path = tmp_path / "stored"
        path.write_bytes(data)
        return read_file(path, name, options, limits)

    return from_bytes
