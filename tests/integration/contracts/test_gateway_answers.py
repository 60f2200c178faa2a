"""What Envoy takes and answers is what the OpenAPI document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import jsonschema_rs
import pytest
from google.protobuf import any_pb2, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.populated_messages import kind_of, message_class, populated
from tests.real_servers.transcoder import Transcoder
from tools.contracts.openapi import paths
from tools.contracts.openapi.bodies import HTTP_BODY
from tools.contracts.reading import Contracts, HttpBinding

_UNHURRIED = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
# Without dot segments, which clients and proxies resolve before a server sees the path (RFC 3986, 5.2.4).
_SEGMENT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="/:"), min_size=1, max_size=12).filter(
    lambda text: text not in {".", ".."}
)

Call = tuple[MethodDescriptor, HttpBinding]


def _calls(contracts: Contracts) -> list[Call]:
    """Returns every unary REST binding, raw bodies aside."""
    return [
        (method, binding)
        for method in contracts.methods()
        for binding in contracts.bindings(method)
        if not method.client_streaming and not method.server_streaming and HTTP_BODY not in _types(method)
    ]


def _types(method: MethodDescriptor) -> Iterator[str]:
    yield method.output_type.full_name
    yield from (field.message_type.full_name for field in method.input_type.fields if field.message_type is not None)


def _operation(openapi: dict[str, Any], binding: HttpBinding) -> dict[str, Any]:
    found: dict[str, Any] = openapi["paths"][paths.parse(binding.template).path][binding.verb.lower()]
    return found


def _validator(openapi: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": openapi["components"]}, validate_formats=True)


def _plain_path(method: MethodDescriptor, binding: HttpBinding) -> str:
    path = binding.template
    for variable in paths.parse(binding.template).variables:
        is_text = kind_of(paths.resolve(method.input_type, variable.path)) == "string"
        path = path.replace("{" + variable.path + "}", "a" if is_text else "1")
    return path


def _send(gateway: Transcoder, binding: HttpBinding, path: str, **content: Any) -> httpx.Response:
    if binding.body and not content:
        content = {"json": {}}
    return gateway.client.request(binding.verb, path, **content)


@given(data=st.data())
@_UNHURRIED
def test_every_answer_has_the_types_of_its_schema(
    gateway: Transcoder, openapi: dict[str, Any], contracts: Contracts, data: st.DataObject
) -> None:
    method, binding = data.draw(st.sampled_from(_calls(contracts)), label="call")
    answer = data.draw(populated(method.output_type.full_name), label="answer")
    gateway.backend.answer = lambda _path, _context: answer.SerializeToString()

    response = _send(gateway, binding, _plain_path(method, binding))

    assert response.status_code == 200, response.text
    documented = _operation(openapi, binding)["responses"]["200"]["content"][response.headers["content-type"]]["schema"]
    wrong = [
        f"{list(error.instance_path)}: {error.message}"
        for error in _validator(openapi, documented).iter_errors(response.json())
        if error.kind.name in ("type", "anyOf", "enum", "maxProperties") or getattr(error.kind, "format", "") == "date-time"
    ]
    assert wrong == []


@given(data=st.data())
@_UNHURRIED
def test_a_request_made_by_the_document_arrives_whole(
    gateway: Transcoder, openapi: dict[str, Any], contracts: Contracts, data: st.DataObject
) -> None:
    method, binding = data.draw(st.sampled_from(_calls(contracts)), label="call")
    request = data.draw(
        populated(method.input_type.full_name, lambda field: "OUTPUT_ONLY" not in contracts.behaviors(field)), label="request"
    )
    for variable in paths.parse(binding.template).variables:
        _set_path(request, variable.path, data.draw)
    if binding.body not in ("", "*") and request.DESCRIPTOR.fields_by_name[binding.body].message_type is not None:
        getattr(request, binding.body).SetInParent()  # a body that is there is a message that is there, be it empty
    gateway.backend.answer = lambda _path, _context: b""
    printed = json_format.MessageToDict(request, preserving_proto_field_name=True)
    path, query, body = binding.template, {}, {}
    operation = _operation(openapi, binding)

    for variable in paths.parse(binding.template).variables:
        path = path.replace("{" + variable.path + "}", quote(_text(_taken(printed, variable.path)), safe=""))
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query" and (value := _taken(printed, parameter["name"])) is not None:
            query[parameter["name"]] = [_text(each) for each in value] if isinstance(value, list) else _text(value)
    if "requestBody" in operation:
        body = {"json": printed if binding.body == "*" else printed.pop(binding.body, {})}
    response = _send(gateway, binding, path, params=query, **body)

    assert response.status_code == 200, response.text
    received = message_class(method.input_type.full_name).FromString(gateway.backend.requests[-1])
    # What is left over, the document has no place for; nothing must be.
    assert _empty(printed) or binding.body == "*", printed
    assert json_format.MessageToDict(received, preserving_proto_field_name=True) == json_format.MessageToDict(
        request, preserving_proto_field_name=True
    )


def _set_path(request: Any, path: str, draw: Any) -> None:
    *outer, name = path.split(".")
    for each in outer:
        request = getattr(request, each)
    is_text = kind_of(request.DESCRIPTOR.fields_by_name[name]) == "string"
    setattr(request, name, draw(_SEGMENT if is_text else st.integers(1, 2**31 - 1), label=path))


def _taken(printed: dict[str, Any], path: str) -> Any:
    """Takes a value such as `model.name` out of a document; None where it is not there."""
    *outer, own = path.split(".")
    for name in outer:
        printed = printed.get(name, {})
    return printed.pop(own, None)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _empty(printed: dict[str, Any]) -> bool:
    return all(isinstance(value, dict) and _empty(value) for value in printed.values())


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=lambda code: code.name)
def test_every_grpc_code_becomes_a_documented_status_with_its_details(
    gateway: Transcoder, openapi: dict[str, Any], contracts: Contracts, code: grpc.StatusCode
) -> None:
    details = [
        error_details_pb2.ErrorInfo(reason="SOME_REASON", domain="mlmesh", metadata={"model": "flights"}),
        error_details_pb2.BadRequest(field_violations=[error_details_pb2.BadRequest.FieldViolation(field="model.name", description="no")]),
        error_details_pb2.PreconditionFailure(violations=[error_details_pb2.PreconditionFailure.Violation(type="STATE", subject="v1")]),
        error_details_pb2.ResourceInfo(resource_type="model", resource_name="flights"),
        error_details_pb2.RetryInfo(),
        error_details_pb2.RequestInfo(request_id="1"),
    ]
    status = status_pb2.Status(code=code.value[0], message="what is wrong")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)

    def refuse(_path: str, context: grpc.ServicerContext) -> bytes:
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError("abort raises")

    gateway.backend.answer = refuse
    method, binding = next(call for call in _calls(contracts) if call[0].name == "CreateModel")
    response = _send(gateway, binding, _plain_path(method, binding))

    documented = _operation(openapi, binding)["responses"]
    assert str(response.status_code) in documented
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    _validator(openapi, {"$ref": "#/components/schemas/Error"}).validate(body)
    assert (body["code"], body["message"]) == (code.value[0], "what is wrong")
    assert [detail["@type"].rpartition(".")[2] for detail in body["details"]] == [type(detail).__name__ for detail in details]
    assert body["details"][0]["metadata"] == {"model": "flights"}


@pytest.mark.parametrize(
    ("verb", "path", "content", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("DELETE", "/api/v1/health", {}, 404),
        ("GET", "/api/v1/models?unknown=1", {}, 400),
        ("GET", "/api/v1/models?page_size=many", {}, 400),
        ("POST", "/api/v1/models", {"content": b'{"name": '}, 400),
        ("POST", "/api/v1/models", {"content": b"[1]"}, 400),
        ("POST", "/api/v1/models", {"json": {"name": {"a": 1}}}, 400),
        ("PATCH", "/api/v1/models/a", {"json": {"name": "b"}}, 400),
    ],
)
def test_the_transcoders_own_refusals_have_the_one_shape(
    gateway: Transcoder, openapi: dict[str, Any], verb: str, path: str, content: dict[str, Any], status: int
) -> None:
    response = gateway.client.request(verb, path, **content)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    _validator(openapi, {"$ref": "#/components/schemas/Error"}).validate(response.json())


def test_a_password_that_is_not_set_is_not_in_the_answer(gateway: Transcoder) -> None:
    gateway.backend.answer = lambda _path, _context: message_class("mlops.users.v1.User")(id="1", username="ada").SerializeToString()

    user = gateway.client.get("/api/v1/users/ada").json()

    assert user["username"] == "ada"
    assert "password" not in user
    assert user["labels"] == {}


@pytest.mark.parametrize("name", ["%*", "a%b", "~", "x!", "x-something-bin"])
def test_a_header_that_grpc_cannot_carry_fails_no_request(gateway: Transcoder, name: str) -> None:
    gateway.backend.answer = lambda _path, _context: b""

    assert gateway.client.get("/api/v1/health", headers={name: "%", "x-kept_1.0": "1"}).status_code == 200
