"""REST for methods whose body is bytes: what Envoy's transcoder does for the others, without its copies (ADR 39)."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson
from google.api import annotations_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from servers.runtime.calls import Behaviour, Call, Method
from servers.runtime.errors import DomainError, InvalidArgument
from servers.runtime.lane.templates import PathTemplate, Variables, http_rules
from servers.runtime.lane.wires import RestBody

# googleapis-common-protos types its extensions as plain descriptors.
_HTTP: Any = annotations_pb2.http
_HTTP_BODY = HttpBody.DESCRIPTOR.full_name
_INTEGERS = frozenset(
    {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}
)
_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LARGEST_FLOAT = 3.4028234663852886e38
_MOST_PARAMETERS = 1000


@dataclass(frozen=True)
class RestBinding:
    """One REST path of a method.

    Args:
        verb: HTTP method, upper case.
        template: Its path.
        body_field: Field of the request that takes the body; empty = the method takes none.
    """

    verb: str
    template: PathTemplate
    body_field: str


@dataclass(slots=True)
class RestRequest:
    """A REST call as it came.

    Args:
        variables: Fields from the path, still percent-encoded.
        query: What follows the question mark.
        content_type: Media type of the body.
        body: The bytes; an iterator of them where requests are a stream; an error where they could not be read.
    """

    variables: Variables
    query: str
    content_type: str
    body: Any = b""


def bindings_of(method: MethodDescriptor) -> list[RestBinding]:
    """Returns the REST paths whose body, where there is one, is bytes."""
    answers_bytes = method.output_type.full_name == _HTTP_BODY
    found = []
    for verb, path, body in http_rules(method.GetOptions().Extensions[_HTTP]):
        takes_bytes = bool(body) and _is_http_body(method.input_type, body)
        if takes_bytes or (answers_bytes and not body):
            found.append(RestBinding(verb, PathTemplate(path), body))
    return found


class RestCodec:
    """Makes requests of REST calls and REST answers of responses.

    Args:
        body_field: Field of the request that takes the body; empty = none.
    """

    def __init__(self, body_field: str) -> None:
        self._body_field = body_field

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour over `RestRequest` and `RestBody`."""
        read = _Reader(method.request_class, self._body_field)
        decode = read.many if method.request_streaming else read.one
        if method.response_streaming:

            def streaming(request: RestRequest, call: Call) -> Iterator[RestBody]:
                for response in inner(decode(request), call):
                    yield _rest_body(response)

            return streaming
        if method.is_coroutine:

            async def awaited(request: RestRequest, call: Call) -> RestBody:
                return _rest_body(await inner(decode(request), call))

            return awaited
        return lambda request, call: _rest_body(inner(decode(request), call))


class _Reader:
    def __init__(self, request_class: type[Message] | None, body_field: str) -> None:
        if request_class is None:
            raise TypeError("REST needs the request's class")
        self._request_class = request_class
        self._body_field = body_field
        # Fields that take any text as it is: almost every variable of a path.
        self._texts = frozenset(
            field.name for field in request_class.DESCRIPTOR.fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
        )

    def one(self, rest: RestRequest) -> Any:
        """The request of a unary call."""
        if isinstance(rest.body, DomainError):
            raise rest.body
        request = self._bound(rest)
        if self._body_field:
            body = getattr(request, self._body_field)
            body.content_type = rest.content_type
            body.data = rest.body
        elif rest.body:
            raise InvalidArgument("This path takes no body.", reason="MALFORMED_REQUEST")
        return request

    def many(self, rest: RestRequest) -> Iterator[Any]:
        """The requests of a stream: the first has the variables, each has a piece of the body."""
        request = self._bound(rest)
        is_first = True
        for piece in rest.body:
            if isinstance(piece, DomainError):
                raise piece
            body = getattr(request, self._body_field)
            body.data = piece
            if is_first:
                body.content_type = rest.content_type
            yield request
            is_first = False
            request = self._request_class()
        if is_first:
            yield request

    def _bound(self, rest: RestRequest) -> Any:
        request = self._request_class()
        for path, value in rest.variables:
            text = _unquoted(path, value) if "%" in value else value
            if path in self._texts:
                setattr(request, path, text)
            else:
                _assign(request, path, text)
        if rest.query:
            for path, value in _parameters(rest.query):
                _assign(request, path, value)
        return request


def _unquoted(path: str, text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _refused(path, text, "text in UTF-8") from None


def _parameters(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except UnicodeDecodeError:
        raise InvalidArgument("The query has to be UTF-8, percent-encoded.", reason="MALFORMED_REQUEST") from None
    except ValueError:
        text = f"A query may have {_MOST_PARAMETERS:,} parameters, and this one has more."
        raise InvalidArgument(text, reason="MALFORMED_REQUEST") from None


def _assign(request: Message, path: str, text: str) -> None:
    """Sets a field, named by a dotted path, from text."""
    *outer, name = path.split(".")
    target: Any = request
    for step in outer:
        field = _field(target, step)
        if field is None or field.message_type is None or field.is_repeated:
            raise _unknown(path, request.DESCRIPTOR)
        target = getattr(target, field.name)
    field = _field(target, name)
    if field is None or field.message_type is not None:
        raise _unknown(path, request.DESCRIPTOR)
    value = _value(field, path, text)
    try:
        if field.is_repeated:
            getattr(target, field.name).append(value)
        else:
            setattr(target, field.name, value)
    except (ValueError, TypeError):
        raise _refused(path, text, "a value in its range") from None


def _field(message: Message, name: str) -> Any:
    """A field by its name, or by its name in JSON; None where there is none."""
    fields = message.DESCRIPTOR
    return fields.fields_by_name.get(name) or fields.fields_by_camelcase_name.get(name)


def _value(field: FieldDescriptor, path: str, text: str) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        if not _WHOLE_NUMBER.fullmatch(text):
            raise _refused(path, text, "a whole number")
        return int(text)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        if text.lower() not in _BOOLEANS:
            raise _refused(path, text, "true or false")
        return _BOOLEANS[text.lower()]
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _number(path, text, _LARGEST_FLOAT if kind == FieldDescriptor.CPPTYPE_FLOAT else math.inf)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _octets(path, text)
    if kind == FieldDescriptor.CPPTYPE_ENUM and field.enum_type is not None:
        value = field.enum_type.values_by_name.get(text)
        if value is None and _WHOLE_NUMBER.fullmatch(text):
            value = field.enum_type.values_by_number.get(int(text))
        if value is None:
            raise _refused(path, text, f"one of {', '.join(field.enum_type.values_by_name)}")
        return value.number
    return text


def _number(path: str, text: str, largest: float) -> float:
    if text in _NO_NUMBERS:
        return _NO_NUMBERS[text]
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if math.isinf(number) or abs(number) > largest:
        raise _refused(path, text, "a number in its range, NaN, Infinity or -Infinity")
    return number


def _octets(path: str, text: str) -> bytes:
    """Base64 in either alphabet, as JSON has it."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise _refused(path, text, "base64") from None


def _unknown(path: str, request: Any) -> InvalidArgument:
    allowed = ", ".join(field.name for field in request.fields if field.message_type is None)
    text = f"There is no query parameter `{path[:100]}` here; allowed are {allowed}."
    return InvalidArgument(text, field_violations=[(path, text)], reason="MALFORMED_REQUEST")


def _refused(path: str, text: str, expected: str) -> InvalidArgument:
    message = f"`{path}` is {expected}, and {text[:100]!r} is not."
    return InvalidArgument(message, field_violations=[(path, message)], reason="MALFORMED_REQUEST")


def _rest_body(response: Message) -> RestBody:
    if isinstance(response, HttpBody):
        return RestBody(response.content_type or "application/octet-stream", response.data)
    # As the gateway's transcoder prints it.
    facts = json_format.MessageToDict(response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return RestBody("application/json", orjson.dumps(facts))


def _is_http_body(request: Descriptor, body_field: str) -> bool:
    field = request.fields_by_name.get(body_field)
    return field is not None and field.message_type is not None and field.message_type.full_name == _HTTP_BODY
