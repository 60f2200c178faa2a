"""Avro object container files: the writer's schema as Arrow types, and the records of one block after the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa

from servers.ingestion.date_range import RANGE
from servers.ingestion.errors import EmptyFile, UnsupportedColumnType, ValueDoesNotFit
from servers.ingestion.readers.arrow_files import refusing_damage
from servers.ingestion.readers.batches import Source
from servers.ingestion.readers.byte_streams import check_growth
from servers.ingestion.readers.columns import MAX_DEPTH
from servers.ingestion.readers.options import ReadLimits
from servers.ingestion.readers.text_types import MAX_DIGITS

_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
    "enum": pa.string(),
    "fixed": pa.binary(),
}
_LOGICAL = {
    "date": pa.date32(),
    "time-millis": pa.time32("ms"),
    "time-micros": pa.time64("us"),
    "timestamp-millis": pa.timestamp("us", "UTC"),
    "timestamp-micros": pa.timestamp("us", "UTC"),
    "local-timestamp-millis": pa.timestamp("us"),
    "local-timestamp-micros": pa.timestamp("us"),
}
_WIDENING = ("int", "long", "float", "double")
_ROWS_AT_ONCE = 1024


@contextmanager
def open_avro(path: Path, name: str, limits: ReadLimits) -> Iterator[Source]:
    """Opens an Avro file.

    Raises:
        CorruptFile: If it is damaged.
        UnsupportedColumnType: If a field has a type that no column holds.
    """
    if not path.stat().st_size:
        raise EmptyFile("the file has no bytes. Is the upload complete?", file=name)
    with path.open("rb") as file, refusing_damage(name, "Avro", Exception):
        written: Any = fastavro.block_reader(file).writer_schema
    schema = record_schema(written, name)
    has_times = "'logicalType'" in str(written)
    with_uuids = {field["name"] for field in written["fields"] if "'uuid'" in str(field["type"])}

    def batches() -> Iterator[pa.RecordBatch]:
        inflated_bytes = rows_before = 0
        with path.open("rb") as file:
            with refusing_damage(name, "Avro", Exception):
                blocks = iter(fastavro.block_reader(file))
            while True:
                with refusing_damage(name, "Avro", Exception):
                    block: Any = next(blocks, None)
                if block is None:
                    return
                inflated_bytes += len(block.bytes_.getbuffer())
                check_growth(inflated_bytes, path.stat().st_size, name, limits)
                records = iter(block)
                while True:
                    with refusing_damage(name, "Avro", Exception):
                        rows = _rows(islice(records, _ROWS_AT_ONCE), rows_before, name, has_times=has_times)
                    if not rows:
                        break
                    yield _batch(rows, schema, with_uuids, rows_before, name)
                    rows_before += len(rows)

    yield Source(schema, batches)


def record_schema(written: Any, name: str) -> pa.Schema:
    """Returns the columns of an Avro record.

    Args:
        written: The schema, as fastavro parses it.
        name: What the sender calls the file.

    Raises:
        UnsupportedColumnType: If it is no record, or a field has a type that no column holds.
    """
    if not isinstance(written, dict) or written.get("type") != "record":
        raise UnsupportedColumnType("the schema is no record, so it has no columns. Write records", file=name)
    if not written["fields"]:
        raise UnsupportedColumnType("the record has no fields, so there are no columns", file=name)
    if not _takes_bytes(written):
        raise UnsupportedColumnType("no field of the record takes room, so a file of no size has rows without end", file=name)
    return pa.schema([(field["name"], _column_type(field, name)) for field in written["fields"]])


def _column_type(field: Any, name: str) -> pa.DataType:
    try:
        return _Types(name, field["name"]).of(field["type"])
    except RecursionError:
        text = f"types are nested more than {MAX_DEPTH} levels deep, which is the limit. Flatten them"
        raise UnsupportedColumnType(text, file=name, column=field["name"]) from None


def _rows(records: Iterable[Any], rows_before: int, name: str, *, has_times: bool) -> list[Any]:
    """Reads records. fastavro makes Python's dates and times of them, which do not have all that the file may say."""
    rows: list[Any] = []
    try:
        rows.extend(records)
    except UnicodeDecodeError:
        raise
    except (OverflowError, ValueError):
        if not has_times:
            raise
        text = f"there is a date or time beyond {RANGE}, which are all that tables hold, or the file is damaged. Correct it"
        raise ValueDoesNotFit(text, file=name, line=rows_before + len(rows) + 1) from None
    return rows


def _batch(rows: list[Any], schema: pa.Schema, with_uuids: set[str], rows_before: int, name: str) -> pa.RecordBatch:
    columns = []
    for field in schema:
        values = [without_uuids(row[field.name]) for row in rows] if field.name in with_uuids else [row[field.name] for row in rows]
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            row = next((index for index, value in enumerate(values) if not _fits(value, field.type)), 0)
            text = f"the value does not fit {field.type}. Write it as the schema of the file says"
            raise ValueDoesNotFit(text, file=name, line=rows_before + row + 1, column=field.name) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def without_uuids(value: Any) -> Any:
    """The value with UUIDs as text, which they are in the file."""
    if isinstance(value, dict):
        return {key: without_uuids(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_uuids(item) for item in value]
    return str(value) if isinstance(value, uuid.UUID) else value


def _fits(value: Any, target: pa.DataType) -> bool:
    try:
        pa.array([value], target)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return False
    return True


class _Types:
    """Arrow types of one column.

    Args:
        file: What the sender calls the file.
        column: Name of the column.
    """

    def __init__(self, file: str, column: str) -> None:
        self._file = file
        self._column = column
        self._open: tuple[str, ...] = ()

    def of(self, schema: Any) -> pa.DataType:
        """The type for an Avro schema."""
        if isinstance(schema, list):
            return self._of_union(schema)
        if isinstance(schema, str):
            if schema not in _PRIMITIVES:
                raise self._refused(f"it uses the type {schema} within itself or a second time. Write each type out where it is used")
            return _PRIMITIVES[schema]
        kind, logical = schema["type"], schema.get("logicalType")
        if isinstance(kind, dict | list):
            return self.of(kind)
        if logical == "decimal" and kind in ("bytes", "fixed"):
            precision, scale = schema["precision"], schema.get("scale", 0)
            if precision > MAX_DIGITS:
                raise self._refused(f"it has decimals of {precision} digits; at most {MAX_DIGITS} are allowed")
            return pa.decimal128(precision, scale)
        if logical == "uuid" and kind == "string":
            return pa.string()
        if logical in _LOGICAL and kind in ("int", "long"):
            return _LOGICAL[logical]
        if kind in ("record", "error"):
            return pa.struct([(field["name"], self.of(field["type"])) for field in schema["fields"]])
        if kind == "array":
            if not _takes_bytes(schema["items"]):
                raise self._refused("it is an array of elements that take no room, so a few bytes hold any number of them")
            return pa.list_(self.of(schema["items"]))
        if kind == "map":
            return pa.map_(pa.string(), self.of(schema["values"]))
        return self.of(kind)

    def _of_union(self, branches: list[Any]) -> pa.DataType:
        kinds = [branch for branch in branches if branch != "null"]
        if not kinds:
            return pa.null()
        if len(kinds) == 1:
            return self.of(kinds[0])
        if all(kind in _WIDENING for kind in kinds):
            # A long in a double may lose digits: Arrow looks at every value.
            return _PRIMITIVES[max(kinds, key=_WIDENING.index)] if "long" not in kinds or "float" not in kinds else pa.float64()
        raise self._refused("it is a union of several types. Leave one type besides null")

    def _refused(self, text: str) -> UnsupportedColumnType:
        return UnsupportedColumnType(text, file=self._file, column=self._column)


def _takes_bytes(schema: Any) -> bool:
    """Whether a value takes at least one byte. Of values that take none, a few bytes announce any number."""
    if isinstance(schema, dict) and schema.get("type") in ("record", "error"):
        return any(_takes_bytes(field["type"]) for field in schema["fields"])
    if isinstance(schema, dict) and schema.get("type") == "fixed":
        return bool(schema["size"])
    return schema not in ("null", {"type": "null"})
