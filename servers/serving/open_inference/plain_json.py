"""Messages of the protocol as the JSON that Triton's REST clients read.

Not protobuf's own JSON, in which 64-bit integers are strings: the protocol's are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor


def json_of(message: Any) -> bytes:
    """A message as JSON. Fields without a value are written with their default; messages that are not set are left out."""
    return orjson.dumps(plain(message))


def json_list_of(messages: Iterable[Any]) -> bytes:
    """Messages as a JSON list."""
    return orjson.dumps([plain(message) for message in messages])


def plain(message: Any) -> dict[str, Any]:
    """A message as dictionaries and lists; enums as their names."""
    written: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            of_value = kind.fields_by_name["value"]
            written[field.name] = {key: _value(of_value, entry) for key, entry in value.items()}
        elif field.is_repeated:
            written[field.name] = [_value(field, item) for item in value]
        elif not field.has_presence or message.HasField(field.name):
            written[field.name] = _value(field, value)
    return written


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    return value
