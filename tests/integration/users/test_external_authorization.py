from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from google.rpc import status_pb2
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb

from servers.users.key_format import new_key
from tests.integration.users.served import Metadata, Served, bearer

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def key(served: Served) -> str:
    return (served.settings.data_dir / "token").read_text().strip()


def check(served: Served, **headers: str) -> CheckResponse:
    request = CheckRequest()
    for name, value in headers.items():
        request.attributes.request.http.headers[name.replace("_", "-")] = value
    response: CheckResponse = AuthorizationStub(served.channel).Check(request)
    return response


def token_in(response: CheckResponse) -> Metadata:
    (option,) = response.ok_response.headers
    assert option.header.key == "authorization"
    assert option.append_action == HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    assert list(response.ok_response.headers_to_remove) == ["x-api-key"]
    assert option.header.value.startswith("Bearer ey")
    return bearer(option.header.value.removeprefix("Bearer "))


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_a_key_as_bearer_becomes_a_token(served: Served, key: str, form: str) -> None:
    token = token_in(check(served, authorization=form.format(key)))

    assert served.users.GetMe(pb.GetMeRequest(), metadata=token).user.username == "admin"


def test_a_key_in_its_own_header_becomes_a_token_and_is_taken_off(served: Served, key: str) -> None:
    token = token_in(check(served, x_api_key=key))

    me = served.users.GetMe(pb.GetMeRequest(), metadata=token)
    assert me.session_id == key.split("_")[1]


def test_a_key_counts_more_than_another_token(served: Served, key: str) -> None:
    assert token_in(check(served, x_api_key=key, authorization="Bearer another"))


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer eyJ"}, {"authorization": "Basic bWxtXw=="}, {"x_api_key": " "}])
def test_a_request_without_a_key_passes_unchanged_to_the_next_filter(served: Served, headers: dict[str, str]) -> None:
    response = check(served, **headers)

    assert response.status.code == 0
    assert list(response.ok_response.headers) == []


@pytest.mark.parametrize(
    ("key_text", "reason"),
    [("mlm_typo", "API_KEY_MALFORMED"), ("x", "API_KEY_MALFORMED"), (new_key(), "API_KEY_INVALID")],
    # A key is random, and workers that run tests side by side have to agree on the names of tests.
    ids=["typo", "too short", "unknown"],
)
def test_a_bad_key_is_answered_in_the_one_shape_of_errors(served: Served, key_text: str, reason: str) -> None:
    denied = check(served, x_api_key=key_text, x_request_id="r-1").denied_response

    headers = {option.header.key: option.header.value for option in denied.headers}
    body: dict[str, Any] = json.loads(denied.body)
    assert denied.status.code == 401
    assert headers["content-type"] == "application/json"
    assert headers["www-authenticate"].startswith("Bearer")
    assert set(body) == {"code", "message", "details"}
    assert body["code"] == 16
    info = next(detail for detail in body["details"] if detail["@type"].endswith("google.rpc.ErrorInfo"))
    assert (info["reason"], info["domain"]) == (reason, "mlmesh")
    assert any(detail.get("request_id") == "r-1" for detail in body["details"])
    assert key_text not in denied.body


def test_a_grpc_caller_gets_the_details_in_a_trailer(served: Served) -> None:
    denied = check(served, x_api_key="x", content_type="application/grpc+proto").denied_response

    (option,) = denied.headers
    raw = option.header.value
    status = status_pb2.Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    assert option.header.key == "grpc-status-details-bin"
    assert (status.code, status.message) == (16, denied.body)


def test_a_revoked_key_is_refused_with_the_next_request(served: Served) -> None:
    admin = served.admin()
    made = served.users.CreateApiKey(pb.CreateApiKeyRequest(api_key=user_pb2.ApiKey(display_name="ci")), metadata=admin)
    assert check(served, x_api_key=made.secret) == check(served, x_api_key=made.secret)

    served.users.RevokeApiKey(pb.RevokeApiKeyRequest(id=made.api_key.id), metadata=admin)

    assert check(served, x_api_key=made.secret).denied_response.status.code == 401
