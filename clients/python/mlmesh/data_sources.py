"""Where data come from: a file on this machine, bytes, rows, or a place that the mesh reads itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.json_values import NotJson, fill_struct

DataSource = str | Path | bytes | bytearray | memoryview | Iterable[Mapping[str, Any]]
"""What people hold in their hands."""

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# What the rest of a request may take: names, keys, types of columns.
_MAX_INLINE_BYTES = _MAX_MESSAGE_BYTES - 1024 * 1024
# A drive letter is one letter; a scheme is more.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def source_message(source: DataSource, *, name: str = "", format: str = "") -> ingestion_pb2.Source:
    """Returns a source as it travels; a file is read, rows are made into JSON.

    Args:
        source: A URI that the mesh reads itself (`file://…` on its own machine, `s3://…`); a path on this machine; bytes; or rows.
        name: Name of the bytes, which tells their format, or of the file where it is to be another; empty = the file's own.
        format: Format that is stated elsewhere; bytes need no name then.

    Raises:
        mlmesh.errors.InvalidArgument: There is no such file, it is too large for a request, or rows have what JSON does not.
    """
    if isinstance(source, str) and _URI.match(source):
        return ingestion_pb2.Source(uri=source)
    if isinstance(source, str | Path):
        return ingestion_pb2.Source(file=_file(Path(source), name))
    if isinstance(source, bytes | bytearray | memoryview):
        return ingestion_pb2.Source(file=_bytes(source, name, format))
    return ingestion_pb2.Source(rows=_rows(source))


def _file(path: Path, name: str) -> ingestion_pb2.InlineFile:
    if not path.is_file():
        raise InvalidArgument(
            f"there is no file at {path} on this machine",
            reason="FILES_MISSING",
            hint="give the path of one file; what the mesh reads itself begins with file:// or s3://",
        )
    size_bytes = path.stat().st_size
    if size_bytes > _MAX_INLINE_BYTES:
        raise _too_large(f"{path} has {size_bytes:,} bytes")
    with path.open("rb") as file:
        # It may have grown since.
        data = file.read(_MAX_INLINE_BYTES + 1)
    return _inline(data, name or path.name, str(path))


def _bytes(data: bytes | bytearray | memoryview, name: str, format: str) -> ingestion_pb2.InlineFile:
    if not name and not format:
        raise InvalidArgument(
            "bytes need a name or a format",
            reason="SOURCE_NAME_MISSING",
            hint="name='flights.csv', or read=ReadOptions(format='csv')",
        )
    size_bytes = memoryview(data).nbytes
    if size_bytes > _MAX_INLINE_BYTES:
        raise _too_large(f"{name or 'the data'} has {size_bytes:,} bytes")
    return _inline(bytes(data), name, name or "the data")


def _inline(data: bytes, name: str, shown: str) -> ingestion_pb2.InlineFile:
    if not data:
        raise InvalidArgument(f"{shown} is empty", reason="SOURCE_EMPTY")
    if len(data) > _MAX_INLINE_BYTES:
        raise _too_large(f"{shown} has more than {_MAX_INLINE_BYTES:,} bytes")
    return ingestion_pb2.InlineFile(data=data, name=name)


def _rows(rows: Any) -> ingestion_pb2.InlineRows:
    if isinstance(rows, Mapping):
        raise InvalidArgument(
            "one mapping is no list of rows", reason="ROWS_INVALID", hint="a row: [row]; columns: a list with a mapping a row"
        )
    if hasattr(rows, "to_parquet") or hasattr(rows, "write_parquet"):
        raise InvalidArgument(
            "a data frame is not sent as it is",
            reason="ROWS_INVALID",
            hint="write it as Parquet, which keeps its types, and give the path; or give frame.to_dict('records')",
        )
    if not isinstance(rows, Iterable):
        raise InvalidArgument(
            f"a {type(rows).__name__} is no source",
            reason="SOURCE_INVALID",
            hint="give a URI, a path, bytes with a name, or a list of mappings",
        )
    message = ingestion_pb2.InlineRows()
    size_bytes = 0
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidArgument(
                f"row {number} is a {type(row).__name__}, not a mapping", reason="ROWS_INVALID", hint="a row names its columns: {'id': 1}"
            )
        struct = message.rows.add()
        try:
            fill_struct(struct, row)
        except NotJson as error:
            place = f"row {number}, {error.path}" if error.path else f"row {number}"
            raise InvalidArgument(f"{place}: {error.problem}", reason="VALUE_NOT_JSON", hint=error.hint) from None
        # Rows that never end are given up early.
        size_bytes += struct.ByteSize()
        if size_bytes > _MAX_INLINE_BYTES:
            raise _too_large(f"the rows have more than {_MAX_INLINE_BYTES:,} bytes from row {number} on")
    if not message.rows:
        raise InvalidArgument("there are no rows", reason="SOURCE_EMPTY")
    return message


def _too_large(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"{what}; a request has room for {_MAX_INLINE_BYTES:,}",
        reason="SOURCE_TOO_LARGE",
        hint="put it where the mesh reads it itself and give that URI (s3://bucket/key, file:///folder/on/the/server), or send it in parts",
    )
