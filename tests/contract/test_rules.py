from __future__ import annotations

from collections.abc import Iterator

import protovalidate
import pytest
from google.protobuf.message import Message
from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2
from mlops.users.v1 import user_pb2, users_service_pb2

from tests.populated_messages import load_contracts, message_class
from tools.contracts.openapi import paths
from tools.contracts.reading import Contracts

load_contracts()

_INPUT = tensor_pb2.TensorSpec(name="x", datatype=tensor_pb2.DATA_TYPE_FP32, shape=[-1])


@pytest.fixture(scope="session")
def validator() -> protovalidate.Validator:
    return protovalidate.Validator()


def _violated(validator: protovalidate.Validator, message: Message) -> Iterator[str]:
    for violation in validator.collect_violations(message):
        field = violation.proto.field
        yield ".".join(element.field_name for element in field.elements) if field else ""


def test_the_rules_of_every_message_compile(contracts: Contracts, validator: protovalidate.Validator) -> None:
    for described in contracts.messages():
        validator.collect_violations(message_class(described.full_name)())  # raises CompilationError where a rule makes no sense


def test_an_update_need_not_repeat_what_the_path_does_not_name(contracts: Contracts, validator: protovalidate.Validator) -> None:
    refused = {}
    for method in contracts.methods():
        for binding in contracts.bindings(method):
            if binding.verb != "PATCH":
                continue
            request = message_class(method.input_type.full_name)()
            getattr(request, binding.body).SetInParent()
            named = {variable.path for variable in paths.parse(binding.template).variables}
            if others := set(_violated(validator, request)) - named:
                refused[method.full_name] = others

    assert refused == {}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (users_service_pb2.CreateUserRequest(), "user"),
        (users_service_pb2.CreateUserRequest(user=user_pb2.User(display_name="Ada")), "user"),
        (users_service_pb2.CreateUserRequest(user=user_pb2.User(username="ada", password="short")), "user.password"),
        (users_service_pb2.CreateRoleRequest(role=user_pb2.Role(name="reader")), "role"),
        (users_service_pb2.ListUsersRequest(page_size=-1), "page_size"),
        (registry_service_pb2.CreateModelRequest(model=model_pb2.Model(name="a/b")), "model.name"),
        (registry_service_pb2.GetModelVersionRequest(model="flights", version=0), "version"),
        (
            registry_service_pb2.CreateModelVersionRequest(
                model="flights",
                version=model_pb2.ModelVersion(signature=tensor_pb2.Signature(inputs=[_INPUT, _INPUT], outputs=[_INPUT])),
            ),
            "version.signature",
        ),
        (registry_service_pb2.CreateModelRequest(model=model_pb2.Model(name="a"), request_id="1"), "request_id"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else value,
)
def test_a_wrong_field_is_named(validator: protovalidate.Validator, request_: Message, field: str) -> None:
    assert list(_violated(validator, request_)) == [field]


def test_a_right_request_passes(validator: protovalidate.Validator) -> None:
    request = users_service_pb2.CreateUserRequest(
        user=user_pb2.User(username="ada", password="correct horse battery"), request_id="6b1f5c0e-6f0e-4c58-9d1c-0d7d2f1c9f11"
    )

    assert validator.collect_violations(request) == []
