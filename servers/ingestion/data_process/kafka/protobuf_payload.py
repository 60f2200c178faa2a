"""Messages of Protocol Buffers as rows.

| field | column |
|---|---|
| int32, int64, float, double, bool, string, bytes and their kin | the same; uint32 as int64, uint64 as decimal128(20, 0) |
| an enum | its name; an unknown number as text |
| `google.protobuf.Timestamp`, `Duration` | timestamp[us, tz=UTC], whole microseconds |
| the wrappers such as `google.protobuf.Int64Value` | what they wrap, or null |
| `google.protobuf.Struct`, `Value`, `ListValue` | JSON as text |
| a message without fields | true where it is set |
| another message, repeated fields, maps | struct, list, map |

A field with presence is null where it is not set; without, it has its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from servers.ingestion.data_process.kafka.columns import Columns, overridden, typed
from servers.ingestion.data_process.kafka.framing import unframed, without_indexes
from servers.ingestion.data_process.kafka.message import Unreadable
from servers.ingestion.date_range import RANGE
from servers.ingestion.subscriptions.errors import InvalidPayload
from servers.ingestion.tables.column_types import is_text

_DESCRIPTORS, _MESSAGE = "protobuf_descriptors", "protobuf_message"
_MOST_LEVELS = 32
_TIMESTAMP = pa.timestamp("us", "UTC")
_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: pa.int32(),
    FieldDescriptor.CPPTYPE_INT64: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT32: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT64: pa.decimal128(20, 0),
    FieldDescriptor.CPPTYPE_FLOAT: pa.float32(),
    FieldDescriptor.CPPTYPE_DOUBLE: pa.float64(),
    FieldDescriptor.CPPTYPE_BOOL: pa.bool_(),
}
_STORABLE_SECONDS = range(-62_135_596_800, 253_402_300_800)
_JSON = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}
_WRAPPERS = {
    f"google.protobuf.{name}Value" for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}
_TIMES = {"google.protobuf.Timestamp": _TIMESTAMP, "google.protobuf.Duration": pa.int64()}

Convert = Callable[[Any], Any]
"""From a value as protobuf has it to one that Arrow takes."""


class ProtobufPayload:
    """Values that are messages of Protocol Buffers.

    Args:
        descriptors: A `google.protobuf.FileDescriptorSet` with the message and all it imports.
        message: Full name of the message.
        column_types: Types of columns instead of those of the fields.
        has_schema_id: Whether an identifier is before them.

    Raises:
        InvalidPayload: The descriptors cannot be understood, or tables do not hold what the message has.
    """

    def __init__(self, descriptors: bytes, message: str, column_types: Mapping[str, pa.DataType], *, has_schema_id: bool) -> None:
        found = _descriptor(descriptors, message)
        if not found.fields:
            raise InvalidPayload(_MESSAGE, f"{message!r} has no fields, so there are no columns; name another message")
        self._class = message_factory.GetMessageClass(found)
        self._fields: list[tuple[FieldDescriptor, Convert]] = []
        fields = []
        for field in found.fields:
            is_verbatim = field.name in column_types and is_text(column_types[field.name])
            arrow_type, convert = _of_field(field, (found.full_name,), is_verbatim=is_verbatim)
            fields.append(pa.field(field.name, arrow_type))
            self._fields.append((field, convert))
        self.schema = pa.schema(fields)
        self._column_types = column_types
        self._has_schema_id = has_schema_id

    def parsed(self, value: bytes) -> list[Any]:
        """Returns the values of the fields.

        Raises:
            Unreadable: It is no such message.
        """
        message = self._class()
        try:
            message.ParseFromString(without_indexes(unframed(value)) if self._has_schema_id else value)
        except DecodeError:
            raise Unreadable(f"not a message {self._class.DESCRIPTOR.full_name}") from None
        return [_value(message, field, convert) for field, convert in self._fields]

    def columns(self, rows: Sequence[list[Any]], _table: pa.Schema | None) -> Columns:
        """Returns a column for each field of the message."""
        columns = Columns()
        for place, field in enumerate(self.schema):
            array = typed(field.name, [row[place] for row in rows], field.type, columns.bad)
            wanted = self._column_types.get(field.name)
            columns.add(field.name, array if wanted is None else overridden(field.name, array, wanted, columns.bad))
        return columns


def _descriptor(descriptors: bytes, message: str) -> Descriptor:
    files = descriptor_pb2.FileDescriptorSet()
    try:
        files.ParseFromString(descriptors)
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
    except (DecodeError, TypeError, ValueError):
        text = "`protobuf_descriptors` is no set of descriptors with all that it imports; make it with `protoc --include_imports`"
        raise InvalidPayload(_DESCRIPTORS, text) from None
    try:
        found: Descriptor = pool.FindMessageTypeByName(message)
    except KeyError:
        known = [f"{file.package}.{each.name}".lstrip(".") for file in files.file for each in file.message_type]
        text = f"`protobuf_message` is {message!r}, which the descriptors do not have; they have {', '.join(known[:20])}"
        raise InvalidPayload(_MESSAGE, text) from None
    except (TypeError, ValueError):
        text = "`protobuf_descriptors` lacks what it imports; make it with `protoc --include_imports`"
        raise InvalidPayload(_DESCRIPTORS, text) from None
    return found


def _of_field(field: FieldDescriptor, path: tuple[str, ...], *, is_verbatim: bool = False) -> tuple[pa.DataType, Convert]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key_type, to_key = _of_value(field.message_type.fields_by_name["key"], path)
        value_field = field.message_type.fields_by_name["value"]
        value_type, to_value = _of_value(value_field, path)
        return pa.map_(key_type, value_type), lambda entries: [(to_key(key), to_value(entries[key])) for key in entries]
    arrow_type, convert = _of_value(field, path, is_verbatim=is_verbatim)
    if field.is_repeated:
        return pa.list_(arrow_type), lambda values: [convert(value) for value in values]
    return arrow_type, convert


def _of_value(field: FieldDescriptor, path: tuple[str, ...], *, is_verbatim: bool = False) -> tuple[pa.DataType, Convert]:
    if field.message_type is not None:
        return _of_message(field, field.message_type, path, is_verbatim=is_verbatim)
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return pa.string(), lambda number: names.get(number, str(number))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return (pa.binary() if field.type == FieldDescriptor.TYPE_BYTES else pa.string()), _same
    return _SCALARS[field.cpp_type], _same


def _of_message(field: FieldDescriptor, kind: Descriptor, path: tuple[str, ...], *, is_verbatim: bool) -> tuple[pa.DataType, Convert]:
    name = kind.full_name
    if name in _JSON or (is_verbatim and name in _TIMES):
        return pa.string(), _text_of if name in _TIMES else json_format.MessageToJson
    if name in _TIMES:
        return _TIMES[name], _instant if _TIMES[name] == _TIMESTAMP else _microseconds
    if name in _WRAPPERS:
        arrow_type, _ = _of_value(kind.fields_by_name["value"], path)
        return arrow_type, lambda message: message.value
    if name in path or len(path) >= _MOST_LEVELS:
        text = f"field {field.full_name!r} has {name!r} within itself, or too deeply, which no column holds; name a message without it"
        raise InvalidPayload(_MESSAGE, text)
    if not kind.fields:
        return pa.bool_(), lambda _message: True
    parts = [(each, *_of_field(each, (*path, name))) for each in kind.fields]
    folded = {each.name.casefold() for each in kind.fields}
    if len(folded) < len(parts):
        raise InvalidPayload(_MESSAGE, f"{name!r} has fields whose names differ in case only, which no table tells apart")
    return (
        pa.struct([(each.name, arrow_type) for each, arrow_type, _ in parts]),
        lambda message: {each.name: _value(message, each, convert) for each, _, convert in parts},
    )


def _value(message: Any, field: FieldDescriptor, convert: Convert) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    return convert(getattr(message, field.name))


def _same(value: Any) -> Any:
    return value


def _text_of(message: Any) -> str:
    text: str = message.ToJsonString()
    return text


def _instant(message: Any) -> int:
    if message.seconds not in _STORABLE_SECONDS:
        raise Unreadable(f"a time is beyond {RANGE}, which are all that tables hold")
    return _microseconds(message)


def _microseconds(message: Any) -> int:
    if message.nanos % 1000:
        raise Unreadable("a time has nanoseconds, and columns have microseconds; set `column_types` of its column to string to keep them")
    return int(message.seconds) * 1_000_000 + int(message.nanos) // 1000
