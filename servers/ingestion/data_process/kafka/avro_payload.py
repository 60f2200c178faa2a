"""Avro records as rows."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import fastavro
import pyarrow as pa

from servers.ingestion.data_process.kafka.columns import Columns, overridden, typed
from servers.ingestion.data_process.kafka.framing import unframed
from servers.ingestion.data_process.kafka.message import Unreadable
from servers.ingestion.errors import UnsupportedColumnType
from servers.ingestion.readers.avro_rows import record_schema, without_uuids
from servers.ingestion.readers.plain_types import plain_array, plain_type
from servers.ingestion.subscriptions.errors import InvalidPayload

_FIELD = "avro_schema"


class AvroPayload:
    """Values that are Avro records.

    Args:
        schema: The schema that they were written with, as JSON.
        has_schema_id: Whether an identifier is before them.
        column_types: Types of columns instead of those of the schema.

    Raises:
        InvalidPayload: The schema cannot be understood, or tables do not hold what it has.
    """

    def __init__(self, schema: str, column_types: Mapping[str, pa.DataType], *, has_schema_id: bool) -> None:
        try:
            self._schema: Any = fastavro.parse_schema(json.loads(schema))
        except Exception as error:  # fastavro raises whatever it meets
            text = f"`avro_schema` is no Avro schema ({type(error).__name__}: {str(error)[:200]}); send the JSON of a record"
            raise InvalidPayload(_FIELD, text) from None
        try:
            found = record_schema(self._schema, "avro_schema")
        except UnsupportedColumnType as error:
            raise InvalidPayload(_FIELD, error.message) from None
        self.schema = found
        self._column_types = column_types
        self._has_schema_id = has_schema_id

    def parsed(self, value: bytes) -> dict[str, Any]:
        """Returns the record.

        Raises:
            Unreadable: It is none of the schema.
        """
        stream = io.BytesIO(unframed(value) if self._has_schema_id else value)
        try:
            row: Any = fastavro.schemaless_reader(stream, self._schema, None)
        except Exception as error:  # fastavro raises whatever it meets
            raise Unreadable(f"not a record of the Avro schema ({type(error).__name__})") from None
        if stream.read(1):
            raise Unreadable("not a record of the Avro schema (bytes are left over)")
        return dict(without_uuids(row))

    def columns(self, rows: Sequence[dict[str, Any]], _table: pa.Schema | None) -> Columns:
        """Returns a column for each field of the record."""
        columns = Columns()
        for field in self.schema:
            array = typed(field.name, [row[field.name] for row in rows], field.type, columns.bad)
            array = plain_array(array, plain_type(field.type))
            wanted = self._column_types.get(field.name)
            columns.add(field.name, array if wanted is None else overridden(field.name, array, wanted, columns.bad))
        return columns
