"""Which payload a subscription has."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from servers.ingestion.data_process.kafka.avro_payload import AvroPayload
from servers.ingestion.data_process.kafka.columns import Payload
from servers.ingestion.data_process.kafka.framing import unframed
from servers.ingestion.data_process.kafka.json_payload import JsonPayload
from servers.ingestion.data_process.kafka.origin import ORIGIN
from servers.ingestion.data_process.kafka.protobuf_payload import ProtobufPayload
from servers.ingestion.data_process.type_names import parsed_type
from servers.ingestion.errors import InvalidReadOptions
from servers.ingestion.readers.options import ReadLimits
from servers.ingestion.subscriptions.errors import InvalidPayload
from servers.ingestion.tables import ContractMode
from servers.ingestion.tables.column_types import checked_schema


def payload_of(described: Mapping[str, Any], types: ContractMode, limits: ReadLimits) -> Payload:
    """Returns how values become rows.

    Args:
        described: `format`, `avro_schema`, `protobuf_descriptors` in base64, `protobuf_message`, `has_schema_id`, `has_origin` and
            `column_types`.
        types: What becomes of values that do not go with the others of their column.
        limits: What reading may cost.

    Raises:
        InvalidPayload: INVALID_ARGUMENT: it contradicts itself, or cannot be understood.
        InvalidColumn: INVALID_ARGUMENT: a column cannot be stored.
    """
    column_types = _column_types(described.get("column_types") or {})
    has_schema_id = bool(described.get("has_schema_id"))
    taken = ORIGIN.names if described.get("has_origin") else []
    kind = described.get("format", "JSON")
    if kind == "JSON":
        payload = JsonPayload(column_types, types, taken, limits.max_columns)
        return _Framed(payload) if has_schema_id else payload
    typed: AvroPayload | ProtobufPayload
    if kind == "AVRO":
        typed = AvroPayload(described.get("avro_schema", ""), column_types, has_schema_id=has_schema_id)
    else:
        descriptors = base64.b64decode(described.get("protobuf_descriptors", ""))
        typed = ProtobufPayload(descriptors, described.get("protobuf_message", ""), column_types, has_schema_id=has_schema_id)
    _check(typed.schema, column_types, taken)
    return typed


class _Framed:
    """JSON behind the identifier of a schema.

    Args:
        payload: The JSON.
    """

    def __init__(self, payload: JsonPayload) -> None:
        self._payload = payload
        self.columns = payload.columns

    def parsed(self, value: bytes) -> Any:
        """Returns the object."""
        return self._payload.parsed(unframed(value))


def _column_types(names: Mapping[str, str]) -> dict[str, pa.DataType]:
    try:
        return {column: parsed_type(name, file="messages", column=column) for column, name in names.items()}
    except InvalidReadOptions as error:
        raise InvalidPayload("column_types", error.message) from None


def _check(schema: pa.Schema, column_types: Mapping[str, pa.DataType], taken: list[str]) -> None:
    checked_schema(schema)
    if unknown := [name for name in column_types if name not in schema.names]:
        text = f"`column_types` names {unknown[0]!r}, which messages do not have; they have {', '.join(schema.names[:20])}"
        raise InvalidPayload("column_types", text)
    folded = {name.casefold() for name in taken}
    if both := [name for name in schema.names if name.casefold() in folded]:
        raise InvalidPayload("has_origin", f"messages have a field {both[0]!r} of their own; leave `has_origin` out, or rename the field")
