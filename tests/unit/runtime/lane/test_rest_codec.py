"""Fields from URLs. That they mean what they mean to Envoy's transcoder is proved in tests/integration/gateway/test_lane_parity.py."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from hypothesis import given
from hypothesis import strategies as st
from mlops.registry.v1.registry_service_pb2 import DESCRIPTOR as REGISTRY
from mlops.registry.v1.registry_service_pb2 import UploadBlobRequest

from servers.runtime.calls import Behaviour, Call, Method
from servers.runtime.errors import DomainError, InvalidArgument
from servers.runtime.lane.context import LaneContext
from servers.runtime.lane.frames import MessageTooLarge
from servers.runtime.lane.rest_codec import RestCodec, RestRequest, bindings_of
from servers.runtime.lane.wires import RestBody
from servers.runtime.registration import PUBLIC

_KINDS = {
    "int32": (Field.TYPE_INT32, st.integers(-(2**31), 2**31 - 1)),
    "sint32": (Field.TYPE_SINT32, st.integers(-(2**31), 2**31 - 1)),
    "sfixed32": (Field.TYPE_SFIXED32, st.integers(-(2**31), 2**31 - 1)),
    "uint32": (Field.TYPE_UINT32, st.integers(0, 2**32 - 1)),
    "fixed32": (Field.TYPE_FIXED32, st.integers(0, 2**32 - 1)),
    "int64": (Field.TYPE_INT64, st.integers(-(2**63), 2**63 - 1)),
    "sint64": (Field.TYPE_SINT64, st.integers(-(2**63), 2**63 - 1)),
    "sfixed64": (Field.TYPE_SFIXED64, st.integers(-(2**63), 2**63 - 1)),
    "uint64": (Field.TYPE_UINT64, st.integers(0, 2**64 - 1)),
    "fixed64": (Field.TYPE_FIXED64, st.integers(0, 2**64 - 1)),
    "bool": (Field.TYPE_BOOL, st.booleans()),
    "float": (Field.TYPE_FLOAT, st.floats(width=32)),
    "double": (Field.TYPE_DOUBLE, st.floats()),
    "string": (Field.TYPE_STRING, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    "bytes": (Field.TYPE_BYTES, st.binary(max_size=20)),
    "enum": (Field.TYPE_ENUM, st.sampled_from([0, 1, 2])),
}


def _message_with_every_type() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="every.proto", package="every", syntax="proto3")
    file.enum_type.add(name="Colour").value.extend(
        descriptor_pb2.EnumValueDescriptorProto(name=name, number=number) for number, name in enumerate(("NONE", "RED", "BLUE"))
    )
    every = file.message_type.add(name="Every")
    for number, (name, (kind, _)) in enumerate(_KINDS.items(), 1):
        for label, prefix, offset in ((Field.LABEL_OPTIONAL, "a_", 0), (Field.LABEL_REPEATED, "many_", 100)):
            field = every.field.add(name=prefix + name, number=number + offset, type=kind, label=label)
            if kind == Field.TYPE_ENUM:
                field.type_name = ".every.Colour"
    every.field.add(name="deeper", number=300, type=Field.TYPE_MESSAGE, type_name=".every.Every", label=Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("every.Every"))


EVERY = _message_with_every_type()
assert bindings_of(REGISTRY.services_by_name["ModelRegistryService"].methods_by_name["UploadBlob"])


def _read(rest: RestRequest, request_class: Any = EVERY, body_field: str = "", **kind: bool) -> Any:
    """What a servicer gets of a REST call; a list where requests are a stream."""
    got: list[Any] = []
    method = Method("/t/M", PUBLIC, request_class, None, kind.get("request_streaming", False), kind.get("response_streaming", False))

    def behaviour(request: Any, call: Call) -> Any:
        got.append(list(request) if method.request_streaming else request)
        return HttpBody()

    RestCodec(body_field).wrap(method, behaviour)(rest, _call(method))
    return got[0]


def _call(method: Method) -> Call:
    context = LaneContext({}, None)
    return Call(method, context, context.header, threading.Event())


def _of_query(query: str) -> Any:
    return _read(RestRequest((), query, ""))


def _refusal_of(query: str) -> InvalidArgument | None:
    try:
        _of_query(query)
    except InvalidArgument as error:
        return error
    return None


def _text(name: str, value: Any) -> str:
    """A value as JSON has it."""
    if name == "bool":
        return "true" if value else "false"
    if name == "bytes":
        return str(json_format.MessageToDict(EVERY(a_bytes=value)).get("aBytes", ""))
    if name == "enum":
        return ("NONE", "RED", "BLUE")[value]
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value == math.inf else "-Infinity" if value == -math.inf else repr(value)
    return str(value)


def _same(found: Any, sent: Any, name: str) -> bool:
    if name == "float":
        return struct.pack("f", found) == struct.pack("f", sent) or (math.isnan(found) and math.isnan(sent))
    return bool(found == sent or (isinstance(sent, float) and math.isnan(found) and math.isnan(sent)))


@given(data=st.data(), name=st.sampled_from(list(_KINDS)), is_deep=st.booleans())
def test_every_value_of_every_type_arrives(data: st.DataObject, name: str, is_deep: bool) -> None:
    sent = data.draw(_KINDS[name][1])
    prefix = "deeper.deeper." if is_deep else ""

    request = _of_query(urlencode({f"{prefix}a_{name}": _text(name, sent)}))

    found = getattr(request.deeper.deeper if is_deep else request, f"a_{name}")
    assert _same(found, sent, name)


@given(data=st.data(), name=st.sampled_from(list(_KINDS)))
def test_repeated_parameters_are_the_elements_of_a_repeated_field(data: st.DataObject, name: str) -> None:
    sent = data.draw(st.lists(_KINDS[name][1], max_size=4))

    request = _of_query(urlencode([(f"many_{name}", _text(name, value)) for value in sent]))

    found = list(getattr(request, f"many_{name}"))
    assert len(found) == len(sent)
    assert all(_same(one, other, name) for one, other in zip(found, sent, strict=True))


@given(query=st.one_of(st.text(max_size=60), st.text(st.sampled_from("a_int32=&%.deeper1-+;[]"), max_size=30)))
def test_no_query_is_worse_than_a_typed_error(query: str) -> None:
    refusal = _refusal_of(query)

    assert refusal is None or refusal.reason == "MALFORMED_REQUEST"


@given(name=st.sampled_from([name for name in _KINDS if name != "string"]), text=st.text(max_size=30))
def test_no_text_is_worse_than_a_typed_error_that_names_its_field(name: str, text: str) -> None:
    refusal = _refusal_of(urlencode({f"a_{name}": text.encode("utf-8", "replace")}))

    assert refusal is None or [field for field, _ in refusal.field_violations] == [f"a_{name}"]
    assert refusal is None or f"a_{name}" in str(refusal)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("int32", str(2**31)),
        ("int32", "9" * 5000),
        ("int32", "٣"),
        ("uint32", "-1"),
        ("int64", str(2**63)),
        ("uint64", str(2**64)),
        ("float", "3.5e38"),
        ("double", "1e309"),
        ("double", "1_0"),
        ("double", "infinity"),
        ("bool", "maybe"),
        ("enum", "red"),
        ("enum", "7"),
        ("bytes", "*"),
    ],
)
def test_what_is_out_of_range_is_refused_with_what_is_expected(name: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"`a_{name}` is .*, and ") as refused:
        _of_query(urlencode({f"a_{name}": text}))

    assert len(str(refused.value)) < 400, "a caller's text is not repeated without an end"


def test_an_unknown_parameter_is_refused_with_those_that_are_known() -> None:
    for path in ("missing", "deeper", "deeper.missing", "a_int32.more", "many_int32.more", "", "."):
        with pytest.raises(InvalidArgument, match=r"There is no query parameter .* allowed are .*a_int32"):
            _of_query(f"{quote(path)}=1")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_variables_of_the_path_are_percent_decoded_once(text: str) -> None:
    assert _read(RestRequest((("a_string", quote(text, safe="")),), "", "")).a_string == text


def test_a_path_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="UTF-8"):
        _read(RestRequest((("a_string", "%FF"),), "", ""))


# Bodies.


def test_a_body_goes_into_its_field_as_it_is() -> None:
    rest = RestRequest((("upload_id", "u"),), "offset_bytes=7", "text/x", b"\x00\xff")

    request = _read(rest, UploadBlobRequest, "body")

    assert (request.upload_id, request.offset_bytes, request.body.content_type, request.body.data) == ("u", 7, "text/x", b"\x00\xff")


def test_a_query_does_not_reach_into_the_body() -> None:
    rest = RestRequest((), "body.content_type=text/evil", "text/x", b"bytes")

    assert _read(rest, UploadBlobRequest, "body").body == HttpBody(content_type="text/x", data=b"bytes")


@given(pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=4))
def test_a_streamed_body_is_its_pieces_and_the_first_says_what_they_belong_to(pieces: list[bytes]) -> None:
    rest = RestRequest((("upload_id", "u"),), "offset_bytes=7", "text/x", iter(pieces))

    requests = _read(rest, UploadBlobRequest, "body", request_streaming=True)

    assert [request.body.data for request in requests] == (pieces or [b""])
    assert [request.upload_id for request in requests] == ["u", *[""] * (len(requests) - 1)]
    assert requests[0].offset_bytes == 7


def test_a_body_where_none_belongs_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="takes no body"):
        _read(RestRequest((), "", "", b"x"))


def test_what_the_transport_could_not_read_is_raised_inside_the_call() -> None:
    with pytest.raises(MessageTooLarge):
        _read(RestRequest((), "", "", MessageTooLarge(7)), UploadBlobRequest, "body")

    def pieces() -> Iterator[bytes | DomainError]:
        yield b"first"
        yield MessageTooLarge(7)

    with pytest.raises(MessageTooLarge):
        _read(RestRequest((), "", "", pieces()), UploadBlobRequest, "body", request_streaming=True)


# Answers.


def _answer(response: Any) -> RestBody:
    method = Method("/t/M", PUBLIC, EVERY, None, False, False)
    behaviour: Behaviour = lambda request, call: response  # noqa: E731
    found = RestCodec("").wrap(method, behaviour)(RestRequest((), "", ""), _call(method))
    assert isinstance(found, RestBody)
    return found


def test_bytes_are_answered_as_they_are_and_messages_as_the_gateway_prints_them() -> None:
    raw, untyped = _answer(HttpBody(content_type="text/x", data=b"\x00")), _answer(HttpBody())
    printed = _answer(EVERY(a_int64=2**60, a_string="ä"))

    assert (raw.content_type, raw.data) == ("text/x", b"\x00")
    assert untyped.content_type == "application/octet-stream"
    assert printed.content_type == "application/json"
    assert '"a_int64":"1152921504606846976"' in printed.data.decode()
    assert '"a_string":"ä"' in printed.data.decode()
    assert '"many_bool":[]' in printed.data.decode()
