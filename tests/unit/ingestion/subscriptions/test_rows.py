from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from servers.ingestion.data_process.kafka.message import Message
from servers.ingestion.data_process.kafka.payloads import payload_of
from servers.ingestion.data_process.kafka.rows import MessageRows, rows_of
from servers.ingestion.readers.options import ReadLimits
from servers.ingestion.subscriptions.errors import InvalidPayload
from servers.ingestion.table_errors import ValueDoesNotFit
from servers.ingestion.tables import ContractMode

AVRO = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "note", "type": ["null", "string"]},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        ],
    }
)


def read(values: Sequence[Any], table: pa.Schema | None = None, types: ContractMode = ContractMode.EVOLVE, **payload: Any) -> MessageRows:
    """Rows of values; those that are no bytes are written as JSON."""
    messages = [
        Message(
            "t",
            0,
            offset,
            1_700_000_000_000 + offset,
            b"key",
            value if value is None or isinstance(value, bytes) else json.dumps(value).encode(),
        )
        for offset, value in enumerate(values)
    ]
    described = {"format": "JSON", **payload}
    return rows_of(messages, payload_of(described, types, ReadLimits()), table, has_origin=bool(payload.get("has_origin")))


def columns(rows: MessageRows) -> dict[str, Any]:
    assert rows.rows is not None
    return {name: column.to_pylist() for name, column in zip(rows.rows.schema.names, rows.rows.columns, strict=True)}


def types(rows: MessageRows) -> dict[str, str]:
    assert rows.rows is not None
    return {field.name: str(field.type) for field in rows.rows.schema}


def told(rows: MessageRows) -> list[tuple[int, str, str]]:
    return [(each.message.offset, each.column, each.reason) for each in rows.rejected]


def test_objects_are_rows_and_everything_else_is_left_out() -> None:
    rows = read([{"a": 1, "b": "x"}, {"a": 2.5}, None, b"[1]", b"{", {}, b"\xff", {"a": None, "b": None}])
    assert columns(rows) == {"a": [1.0, 2.5, None], "b": ["x", None, None]}
    assert [each.offset for each in rows.messages] == [0, 1, 7]
    assert told(rows) == [(2, "", "TOMBSTONE"), *((offset, "", "MESSAGE_UNREADABLE") for offset in (3, 4, 5, 6))]


@pytest.mark.parametrize("values", [[{"a": 1}, {"a": "x"}, {"a": "5"}], [{"a": True}, {"a": "x"}, {"a": "true"}]])
def test_a_value_of_another_type_meets_the_contract(values: list[dict[str, Any]]) -> None:
    for mode in (ContractMode.EVOLVE, ContractMode.FREEZE):
        with pytest.raises(ValueDoesNotFit, match="message t/0@1") as caught:
            read(values, types=mode)
        assert caught.value.metadata["offset"] == "1"
    kept = read(values, types=ContractMode.DISCARD_ROW)
    assert (columns(kept)["a"], told(kept)) == ([values[0]["a"], {"5": 5, "true": True}[values[2]["a"]]], [(1, "a", "VALUE_DOES_NOT_FIT")])
    assert columns(read(values, types=ContractMode.DISCARD_VALUE))["a"][1] is None


def test_everything_is_text_in_a_column_of_text() -> None:
    values = [{"a": 1}, {"a": "x"}, {"a": True}, {"a": {"q": [1]}}, b'{"a": 0.12345678901234567890}']
    text = {"a": ["1", "x", "true", '{"q": [1]}', "0.12345678901234567890"]}
    assert columns(read(values, pa.schema([("a", pa.string())]))) == text
    assert columns(read(values, column_types={"a": "string"})) == text


def test_text_stays_text_even_where_it_looks_like_times() -> None:
    assert types(read([{"a": "2026-01-01"}])) == {"a": "string"}


def test_no_digit_is_lost() -> None:
    rows = read([b'{"a": 123456789012345678901234567890}', b'{"a": 9223372036854775807}'])
    assert [int(value) for value in columns(rows)["a"]] == [123456789012345678901234567890, 2**63 - 1]
    rows = read([b'{"a": 0.1234567890123456789012}', b'{"a": 1.5}', b'{"b": ' + b"9" * 40 + b"}"])
    assert (columns(rows), told(rows)) == ({"a": [1.5], "b": [None]}, [(0, "a", "MESSAGE_UNREADABLE"), (2, "b", "MESSAGE_UNREADABLE")])


def test_true_is_no_number_within_objects_either() -> None:
    rows = read([{"a": [1.5]}, {"a": [True]}], types=ContractMode.DISCARD_ROW)
    assert (columns(rows), told(rows)) == ({"a": [[1.5]]}, [(1, "a", "VALUE_DOES_NOT_FIT")])


def test_objects_get_the_fields_of_all_and_none_of_unknown_type() -> None:
    rows = read([{"a": {"x": 1}}, {"a": {"y": None}}, {"a": {}}, {"b": {}}, {"c": None}])
    assert types(rows) == {"a": "struct<x: int64>", "b": "null", "c": "null"}
    known = pa.schema([("b", pa.struct([("z", pa.string())]))])
    assert columns(read([{"b": {}}], known)) == {"b": [{"z": None}]}


def test_names_that_no_table_has_make_a_message_unreadable_and_not_those_after_it() -> None:
    rows = read([{"A": 1}, {"a": 2}, {"": 1}, {"x\n": 1}, {"B": 1, "b": 2}, {"b": 3}, {"n": {"x": 1, "X": 2}}, {"n": {"x": 1}}])
    assert [offset for offset, _, _ in told(rows)] == [1, 2, 3, 4, 6]
    assert columns(rows) == {"A": [1, None, None], "b": [None, 3, None], "n": [None, None, {"x": 1}]}
    assert told(read([{"ID": 1}], pa.schema([("id", pa.int64())]))) == [(0, "ID", "MESSAGE_UNREADABLE")]


def test_more_columns_than_there_may_be_make_a_message_unreadable() -> None:
    rows = read([{f"c{number}": 1 for number in range(10_000)}, {"one_more": 1}])
    assert told(rows) == [(1, "one_more", "MESSAGE_UNREADABLE")]


def test_nesting_has_a_limit() -> None:
    deep = b'{"a":' * 100 + b"1" + b"}" * 100
    assert told(read([deep, {"a": {"a": 1}}])) == [(0, "", "MESSAGE_UNREADABLE")]


def test_nothing_but_nulls_makes_no_table() -> None:
    assert told(read([{"a": None}])) == [(0, "", "MESSAGE_UNREADABLE")]
    assert columns(read([{"a": None}], pa.schema([("b", pa.int64())]))) == {"a": [None]}


def test_a_wanted_type_refuses_what_loses_something() -> None:
    rows = read([{"n": 1.5}, {"n": 2}, {"n": "3"}], column_types={"n": "int64"})
    assert (columns(rows), told(rows)) == ({"n": [2, 3]}, [(0, "n", "MESSAGE_UNREADABLE")])


def test_rows_may_say_where_they_come_from_and_nobody_else_says_it() -> None:
    rows = read([{"kafka_Topic": 1}, {"a": 1}], has_origin=True)
    assert told(rows) == [(0, "kafka_Topic", "MESSAGE_UNREADABLE")]
    found = columns(rows)
    assert {name: values[0] for name, values in found.items() if name != "kafka_time"} == {
        "a": 1,
        "kafka_topic": "t",
        "kafka_partition": 0,
        "kafka_offset": 1,
        "kafka_key": b"key",
    }
    assert found["kafka_time"][0].timestamp() == 1_700_000_000.001


def avro(record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(json.loads(AVRO)), record)
    return stream.getvalue()


def test_avro_records_are_rows_of_their_schema() -> None:
    record = {"id": 2**62, "note": None, "time": datetime(2026, 1, 1, tzinfo=UTC), "key": uuid.UUID(int=5)}
    written = avro(record)
    rows = read([written, written + b"x", written[:-2], b"", None], format="AVRO", avro_schema=AVRO)
    assert types(rows) == {"id": "int64", "note": "string", "time": "timestamp[us, tz=UTC]", "key": "string"}
    assert columns(rows) == {name: [value] for name, value in (record | {"key": str(uuid.UUID(int=5))}).items()}
    assert [offset for offset, _, _ in told(rows)] == [1, 2, 3, 4]
    framed = read([b"\x00\x00\x00\x00\x07" + written, written], format="AVRO", avro_schema=AVRO, has_schema_id=True)
    assert (columns(framed)["id"], [offset for offset, _, _ in told(framed)]) == ([2**62], [1])


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        '"long"',
        '{"type": "record", "name": "r", "fields": []}',
        '{"type": "record", "name": "r", "fields": [{"name": "a", "type": ["int", "string"]}]}',
    ],
)
def test_an_avro_schema_that_tables_do_not_hold_is_refused(schema: str) -> None:
    with pytest.raises(InvalidPayload):
        read([], format="AVRO", avro_schema=schema)


def descriptors(*fields: tuple[str, int, Any], **nested: Any) -> bytes:
    """A file `shop.proto` with a message `shop.Order`."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (timestamp_pb2, duration_pb2, struct_pb2, wrappers_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    file = files.file.add(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.extend(each.name for each in files.file[:-1])
    kind = file.enum_type.add(name="Kind")
    for number, name in enumerate(("KIND_UNSPECIFIED", "KIND_LARGE")):
        kind.value.add(name=name, number=number)
    line = file.message_type.add(name="Line")
    line.field.add(name="price", number=1, type=Field.TYPE_DOUBLE, label=Field.LABEL_OPTIONAL)
    file.message_type.add(name="Nothing")
    order = file.message_type.add(name="Order")
    for number, (name, field_type, more) in enumerate(fields, start=1):
        order.field.add(name=name, number=number, type=field_type, **({"label": Field.LABEL_OPTIONAL} | more))
    if nested.get("map"):
        entry = order.nested_type.add(name="CountsEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=Field.TYPE_INT64, label=Field.LABEL_OPTIONAL)
    return files.SerializeToString()


ORDER = descriptors(
    ("id", Field.TYPE_INT64, {}),
    ("big", Field.TYPE_UINT64, {}),
    ("raw", Field.TYPE_BYTES, {}),
    ("kind", Field.TYPE_ENUM, {"type_name": ".shop.Kind"}),
    ("time", Field.TYPE_MESSAGE, {"type_name": ".google.protobuf.Timestamp"}),
    ("took", Field.TYPE_MESSAGE, {"type_name": ".google.protobuf.Duration"}),
    ("lines", Field.TYPE_MESSAGE, {"type_name": ".shop.Line", "label": Field.LABEL_REPEATED}),
    ("counts", Field.TYPE_MESSAGE, {"type_name": ".shop.Order.CountsEntry", "label": Field.LABEL_REPEATED}),
    ("more", Field.TYPE_MESSAGE, {"type_name": ".google.protobuf.Struct"}),
    ("maybe", Field.TYPE_MESSAGE, {"type_name": ".google.protobuf.Int64Value"}),
    ("flag", Field.TYPE_MESSAGE, {"type_name": ".shop.Nothing"}),
    ("tags", Field.TYPE_STRING, {"label": Field.LABEL_REPEATED}),
    map=True,
)


def order_class() -> Any:
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(ORDER).file:
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


def protobuf(**payload: Any) -> dict[str, Any]:
    import base64

    return {"format": "PROTOBUF", "protobuf_descriptors": base64.b64encode(ORDER).decode(), "protobuf_message": "shop.Order", **payload}


def test_messages_of_protocol_buffers_are_rows_with_their_types() -> None:
    order = order_class()(id=-(2**62), big=2**64 - 1, raw=b"\x00\xff", kind=1, lines=[{"price": 1.5}, {}], counts={"a": 1}, tags=["x", "y"])
    order.time.FromDatetime(datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC))
    order.took.FromMicroseconds(1_500_000)
    order.more.update({"a": [1, None]})
    order.maybe.value = 0
    order.flag.SetInParent()
    empty = order_class()(kind=7)
    rows = read([order.SerializeToString(), empty.SerializeToString(), b"\xff\xff\xff"], **protobuf())
    assert types(rows) == {
        "id": "int64",
        "big": "decimal128(20, 0)",
        "raw": "binary",
        "kind": "string",
        "time": "timestamp[us, tz=UTC]",
        "took": "int64",
        "lines": "list<item: struct<price: double>>",
        "counts": "map<string, int64>",
        "more": "string",
        "maybe": "int64",
        "flag": "bool",
        "tags": "list<item: string>",
    }
    found = columns(rows)
    assert json.loads(found.pop("more")[0]) == {"a": [1.0, None]}
    assert {name: values[0] for name, values in found.items()} == {
        "id": -(2**62),
        "big": 2**64 - 1,
        "raw": b"\x00\xff",
        "kind": "KIND_LARGE",
        "time": datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        "took": 1_500_000,
        "lines": [{"price": 1.5}, {"price": 0.0}],
        "counts": [("a", 1)],
        "maybe": 0,
        "flag": True,
        "tags": ["x", "y"],
    }
    unset = {name: values[1] for name, values in found.items()}
    assert unset == {"id": 0, "big": 0, "raw": b"", "kind": "7", "lines": [], "counts": [], "tags": []} | dict.fromkeys(
        ("time", "took", "maybe", "flag")
    )
    assert told(rows) == [(2, "", "MESSAGE_UNREADABLE")]


@pytest.mark.parametrize("path", [b"\x00", b"\x02\x02", b"\x04\x00\x02"])
def test_what_confluents_serializers_put_before_a_message_is_passed_over(path: bytes) -> None:
    written = b"\x00\x00\x00\x00\x07" + path + order_class()(id=5).SerializeToString()
    assert columns(read([written], **protobuf(has_schema_id=True)))["id"] == [5]


@pytest.mark.parametrize("damaged", [b"\x00\x00\x00\x00\x07", b"\x00\x00\x00\x00\x07\xff\xff\xff\xff\xff\xff", b"\x01\x00\x00\x00\x07\x00"])
def test_a_damaged_prefix_makes_a_message_unreadable(damaged: bytes) -> None:
    assert told(read([damaged], **protobuf(has_schema_id=True))) == [(0, "", "MESSAGE_UNREADABLE")]


def test_nanoseconds_are_not_cut_but_kept_as_text_where_that_is_wanted() -> None:
    order = order_class()(id=1)
    order.time.seconds, order.time.nanos = 1_767_225_600, 123456789
    assert told(read([order.SerializeToString()], **protobuf())) == [(0, "", "MESSAGE_UNREADABLE")]
    rows = read([order.SerializeToString()], **protobuf(column_types={"time": "string"}))
    assert columns(rows)["time"] == ["2026-01-01T00:00:00.123456789Z"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"protobuf_message": "shop.Missing"},
        {"protobuf_message": "shop.Nothing"},
        {"protobuf_descriptors": "AAAA"},
        {"column_types": {"missing": "string"}},
        # Contains itself.
        {"protobuf_message": "google.protobuf.DescriptorProto"},
    ],
)
def test_descriptors_that_do_not_help_are_refused(wrong: dict[str, Any]) -> None:
    import base64

    if wrong.get("protobuf_message") == "google.protobuf.DescriptorProto":
        files = descriptor_pb2.FileDescriptorSet()
        descriptor_pb2.DESCRIPTOR.CopyToProto(files.file.add())
        wrong = wrong | {"protobuf_descriptors": base64.b64encode(files.SerializeToString()).decode()}
    with pytest.raises(InvalidPayload):
        read([], **protobuf(**wrong))
