"""Batches of a stream of rows: read one by one, and joined where that makes no difference to any of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import types

from servers.ingestion.errors import MixedTypes
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from servers.ingestion.readers.rows import open_rows
from servers.ingestion.streams.errors import BatchTooLarge
from servers.ingestion.tables.column_types import is_number, is_text
from servers.ingestion.tables.lossless import fit

_NAME = "rows"
"""What errors call the data of a batch."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What reading a batch may cost."""

    rows: int
    """Most rows."""
    reading: ReadLimits


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows of a stream that are acknowledged together."""

    sequence: int
    schema: pa.Schema
    pieces: Sequence[pa.RecordBatch]
    row_count: int


def read_batch(
    sequence: int,
    path: Path,
    kind: Format,
    column_types: Mapping[str, pa.DataType],
    table: pa.Schema | None,
    *,
    discards: bool,
    limits: BatchLimits,
) -> RowBatch:
    """Reads a batch as its dataset would have it: whatever fits the type of its column comes in that.

    Args:
        sequence: Its number.
        path: The bytes.
        kind: NDJSON or ARROW.
        column_types: What the sender says of columns; of those that the batch does not have, nothing is asked.
        table: What the dataset has; None where there is none.
        discards: Whether values that do not fit their column are discarded, so that they may stand beside others.
        limits: What reading it may cost.

    Raises:
        InvalidFile: INVALID_ARGUMENT: it cannot be read as rows.
        BatchTooLarge: RESOURCE_EXHAUSTED: it has more rows.
    """
    present = _names(path, kind) if column_types else ()
    wanted = {name: column_type for name, column_type in column_types.items() if name in present}
    if kind is Format.NDJSON and table is not None:
        schema, pieces = _read_guided(path, wanted, table, discards, limits)
    else:
        schema, pieces = _read(path, kind, wanted, limits)
    if kind is Format.NDJSON:
        # A batch is short: that a column has nothing but nulls in it tells nothing of its type.
        schema, pieces = _typeless(schema, pieces, wanted)
    if table is not None:
        schema, pieces = _fitted(schema, pieces, table)
    return RowBatch(sequence, schema, pieces, sum(piece.num_rows for piece in pieces))


def joined_schema(first: pa.Schema, second: pa.Schema, *, needed: Collection[str] | None) -> pa.Schema | None:
    """Returns the columns of two batches together; None where one commit would not do to both what two commits do.

    Args:
        first: Columns of one.
        second: Columns of the other.
        needed: Those that a batch must not get from another one; None = all.
    """
    known = {field.name: field.type for field in first}
    for field in second:
        if types.is_null(known.setdefault(field.name, field.type)):
            known[field.name] = field.type
        elif known[field.name] != field.type and not types.is_null(field.type):
            return None
    differing = set(first.names) ^ set(second.names)
    if differing if needed is None else differing & set(needed):
        return None
    is_unique = len({name.casefold() for name in known}) == len(known)
    return pa.schema(list(known.items())) if is_unique else None


def rows_as(schema: pa.Schema, batches: Sequence[RowBatch]) -> Iterator[pa.RecordBatch]:
    """Gives the rows of batches that are joined.

    Args:
        schema: Columns of them together, from `joined_schema`.
        batches: In their order.
    """
    for piece in chain.from_iterable(batch.pieces for batch in batches):
        yield pa.record_batch([_column(piece, field) for field in schema], schema=schema)


def _column(piece: pa.RecordBatch, field: pa.Field) -> pa.Array:
    index = piece.schema.get_field_index(field.name)
    is_there = index >= 0 and piece.schema.field(index).type == field.type
    return piece.column(index) if is_there else pa.nulls(piece.num_rows, field.type)


def _names(path: Path, kind: Format) -> Collection[str]:
    try:
        if kind is Format.NDJSON:
            return set().union(*(orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()))
        return set(pa.ipc.open_stream(path.read_bytes()).schema.names)
    except (ValueError, TypeError, OSError, pa.ArrowException):
        return ()  # whoever reads the rows says what is wrong


def _read_guided(
    path: Path, wanted: Mapping[str, pa.DataType], table: pa.Schema, discards: bool, limits: BatchLimits
) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Reads JSON into columns that are known: what stands for itself in a few rows may be something else in all of them."""
    texts: dict[str, pa.DataType] = {}
    while True:
        try:
            schema, pieces = _read(path, Format.NDJSON, {**wanted, **texts}, limits)
        except MixedTypes as error:
            known = _known_type(table, error.column or "")
            is_readable = known is not None and (is_text(known) or (discards and (is_number(known) or types.is_temporal(known))))
            if not is_readable or error.column is None or error.column in wanted:
                raise
            texts[error.column] = pa.string()
            continue
        # Text that looks like times is kept as it is written where the column has text.
        times = [field.name for field in schema if types.is_temporal(field.type) and field.name not in wanted]
        found = {name: pa.string() for name in times if (known := _known_type(table, name)) is not None and is_text(known)}
        if not found:
            return schema, pieces
        texts |= found


def _read(path: Path, kind: Format, column_types: Mapping[str, pa.DataType], limits: BatchLimits) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    options = ReadOptions(format=kind, compression=Compression.NONE, column_types=column_types)
    pieces, row_count = [], 0
    with open_rows(path, _NAME, options, limits.reading) as rows:
        for piece in rows:
            row_count += piece.num_rows
            if row_count > limits.rows:
                raise BatchTooLarge(limits.rows)
            pieces.append(piece)
        return rows.schema, pieces


def _known_type(table: pa.Schema, name: str) -> pa.DataType | None:
    index = table.get_field_index(name)
    return table.field(index).type if index >= 0 else None


def _typeless(schema: pa.Schema, pieces: Sequence[pa.RecordBatch], wanted: Collection[str]) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    empty = [field.name for i, field in enumerate(schema) if all(piece.column(i).null_count == piece.num_rows for piece in pieces)]
    named = [field.with_type(pa.null()) if field.name in empty and field.name not in wanted else field for field in schema]
    return _recast(pa.schema(named), pieces)


def _fitted(schema: pa.Schema, pieces: Sequence[pa.RecordBatch], table: pa.Schema) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    fields, columns = [], []
    for index, field in enumerate(schema):
        values = [piece.column(index) for piece in pieces]
        known = table.get_field_index(field.name)
        target = field.type if known < 0 else table.field(known).type
        if target != field.type and not types.is_null(field.type):
            fitted = [fit(each, target) for each in values]
            if all(each.misfits is None for each in fitted):
                field, values = field.with_type(target), [each.values for each in fitted]
        fields.append(field)
        columns.append(values)
    fitting = pa.schema(fields)
    return fitting, [pa.record_batch([values[i] for values in columns], schema=fitting) for i in range(len(pieces))]


def _recast(schema: pa.Schema, pieces: Sequence[pa.RecordBatch]) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    return schema, [pa.record_batch([_column(piece, field) for field in schema], schema=schema) for piece in pieces]
