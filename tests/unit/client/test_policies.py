from __future__ import annotations

import json

import pytest
from mlmesh.policies import policy_of, service_config, services
from mlops.common.v1 import options_pb2
from mlops.registry.v1 import registry_service_pb2
from mlops.users.v1 import users_service_pb2


def retried() -> set[str]:
    (method,) = json.loads(service_config())["methodConfig"]
    return {f"{name['service']}/{name['method']}" for name in method["name"]}


@pytest.mark.parametrize("service", list(services()), ids=lambda service: service.name)
def test_a_method_is_retried_exactly_where_its_contract_says_that_a_repeat_is_safe(service: object) -> None:
    for method in service.methods:  # type: ignore[attr-defined]
        policy = method.GetOptions().Extensions[options_pb2.policy]
        is_safe = policy.idempotency != options_pb2.IDEMPOTENCY_NOT_IDEMPOTENT and not method.client_streaming
        assert (f"{method.containing_service.full_name}/{method.name}" in retried()) is is_safe, method.full_name


def test_only_a_server_that_does_not_answer_is_retried() -> None:
    (method,) = json.loads(service_config())["methodConfig"]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]


def test_a_request_tells_the_policy_of_its_method() -> None:
    login = policy_of(users_service_pb2.LoginRequest())
    assert (login.path, login.needs_token, login.may_retry) == ("/mlops.users.v1.UserService/Login", False, False)
    create = policy_of(registry_service_pb2.CreateModelRequest())
    assert (create.needs_token, create.may_retry, create.takes_request_id) == (True, True, True)
    upload = policy_of(registry_service_pb2.UploadBlobRequest)
    assert upload.is_transfer
    assert upload.is_client_stream


def test_every_method_with_a_request_id_has_a_field_for_it() -> None:
    for service in services():
        for method in service.methods:
            policy = method.GetOptions().Extensions[options_pb2.policy]
            if policy.idempotency == options_pb2.IDEMPOTENCY_REQUEST_ID:
                assert "request_id" in method.input_type.fields_by_name, method.full_name
