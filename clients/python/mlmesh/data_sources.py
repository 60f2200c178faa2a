"""Where data come from: a file on this machine, bytes, rows, or a place that the mesh reads itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.data_uploads import Content, DataUpload
from mlmesh.errors import InvalidArgument
from mlmesh.json_values import NotJson, json_line

DataSource = str | Content | DataUpload | Iterable[Mapping[str, Any]]
"""What people hold in their hands."""

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
# What the rest of a request may take: names, keys, types of columns.
MAX_INLINE_BYTES = _MAX_MESSAGE_BYTES - 1024 * 1024
_ROWS_NAME = "rows.ndjson"
# A drive letter is one letter; a scheme is more.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def source_message(source: DataSource, *, name: str = "", format: str = "") -> ingestion_pb2.Source:
    """Returns a source as it travels; a file is read, rows are made into JSON.

    Args:
        source: A URI that the mesh reads itself (`file://…` on its own machine, `s3://…`); a path on this machine; bytes; rows; or an
            upload.
        name: Name of the bytes, which tells their format, or of the file where it is to be another; empty = the file's own.
        format: Format that is stated elsewhere; bytes need no name then.

    Raises:
        mlmesh.errors.InvalidArgument: There is no such file, it is too large for a request, or rows have what JSON does not.
    """
    if isinstance(source, DataUpload):
        return ingestion_pb2.Source(upload_id=source.id)
    if isinstance(source, str) and _URI.match(source):
        return ingestion_pb2.Source(uri=source)
    if isinstance(source, str | Path):
        return ingestion_pb2.Source(file=_file(Path(source), name))
    if isinstance(source, bytes | bytearray | memoryview):
        return ingestion_pb2.Source(file=_bytes(source, name, format))
    return ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=_rows(source), name=_ROWS_NAME))


def is_too_large(source: DataSource, *, name: str = "", format: str = "") -> TypeGuard[str | Content]:
    """Returns whether a file or bytes do not go into a request, and have to be uploaded.

    Args:
        source: As for `source_message`.
        name: As for `source_message`.
        format: As for `source_message`.

    Raises:
        mlmesh.errors.InvalidArgument: Bytes have neither a name nor a format.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        _check_named(name, format)
        return memoryview(source).nbytes > MAX_INLINE_BYTES
    if not isinstance(source, str | Path) or (isinstance(source, str) and _URI.match(source)):
        return False
    path = Path(source)
    return path.is_file() and path.stat().st_size > MAX_INLINE_BYTES


def _file(path: Path, name: str) -> ingestion_pb2.InlineFile:
    if not path.is_file():
        raise InvalidArgument(
            f"there is no file at {path} on this machine",
            reason="FILES_MISSING",
            hint="give the path of one file; what the mesh reads itself begins with file:// or s3://",
        )
    with path.open("rb") as file:
        # It may have grown since it was looked at.
        data = file.read(MAX_INLINE_BYTES + 1)
    return _inline(data, name or path.name, str(path))


def _bytes(data: bytes | bytearray | memoryview, name: str, format: str) -> ingestion_pb2.InlineFile:
    _check_named(name, format)
    return _inline(bytes(data), name, name or "the data")


def _check_named(name: str, format: str) -> None:
    if not name and not format:
        raise InvalidArgument(
            "bytes need a name or a format",
            reason="SOURCE_NAME_MISSING",
            hint="name='flights.csv', or read=ReadOptions(format='csv')",
        )


def _inline(data: bytes, name: str, shown: str) -> ingestion_pb2.InlineFile:
    if not data:
        raise InvalidArgument(f"{shown} is empty", reason="SOURCE_EMPTY")
    if len(data) > MAX_INLINE_BYTES:
        raise _too_large(
            f"{shown} has more than {MAX_INLINE_BYTES:,} bytes",
            "upload it first, with mesh.uploads.upload_data, and give what that returns",
        )
    return ingestion_pb2.InlineFile(data=data, name=name)


def _rows(rows: Any) -> bytes:
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
    lines, size_bytes = [], 0
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InvalidArgument(
                f"row {number} is a {type(row).__name__}, not a mapping", reason="ROWS_INVALID", hint="a row names its columns: {'id': 1}"
            )
        try:
            lines.append(json_line(row))
        except NotJson as error:
            place = f"row {number}, {error.path}" if error.path else f"row {number}"
            raise InvalidArgument(f"{place}: {error.problem}", reason="VALUE_NOT_JSON", hint=error.hint) from None
        # Rows that never end are given up early.
        size_bytes += len(lines[-1])
        if size_bytes > MAX_INLINE_BYTES:
            raise _too_large(
                f"the rows have more than {MAX_INLINE_BYTES:,} bytes from row {number} on",
                "write them to a file and give its path, or send them in parts",
            )
    if not lines:
        raise InvalidArgument("there are no rows", reason="SOURCE_EMPTY")
    return b"".join(lines)


def _too_large(what: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"{what}; a request has room for {MAX_INLINE_BYTES:,}", reason="SOURCE_TOO_LARGE", hint=hint)
