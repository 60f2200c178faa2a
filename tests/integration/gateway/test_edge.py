"""The docs page, the OpenAPI document, and OAuth2 clients that send forms, all through Envoy."""

from __future__ import annotations

import base64
import re
from typing import Any, NoReturn

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from mlops.users.v1 import users_service_pb2 as pb

from gateway.typed import any_of
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest

EXCHANGE = "/mlops.users.v1.UserService/ExchangeToken"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def _token(request: Any, context: grpc.ServicerContext) -> pb.TokenResponse:
    return pb.TokenResponse(access_token="a.b.c", token_type="Bearer", expires_in=900, refresh_token="r")


def _refuse(code: int, reason: str, **metadata: str) -> Any:
    def answer(request: Any, context: grpc.ServicerContext) -> NoReturn:
        info = any_of(error_details_pb2.ErrorInfo(reason=reason, domain="mlmesh", metadata=metadata))
        context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=code, message="no", details=[info])))

    return answer


def test_the_docs_page_brings_all_it_needs_from_the_mesh_itself(gateway: GatewayUnderTest) -> None:
    page = gateway.client.get("/docs")

    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.status_code == 200
    assert [link for link in links if not link.startswith(("/docs/", "data:"))] == []
    for link in links:
        if link.startswith("/docs/"):
            asset = gateway.client.get(link)
            assert asset.status_code == 200
            assert asset.headers["content-type"].startswith(("text/javascript", "text/css"))
            assert len(asset.content) > 100


def test_the_docs_page_may_load_nothing_from_elsewhere(gateway: GatewayUnderTest) -> None:
    policy = gateway.client.get("/docs").headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_root_leads_to_the_docs(gateway: GatewayUnderTest) -> None:
    response = gateway.client.get("/")

    assert (response.status_code, response.headers["location"]) == (307, "/docs")


def test_the_openapi_document_is_served_without_a_token(gateway: GatewayUnderTest) -> None:
    document = gateway.client.get("/openapi.json")

    assert document.status_code == 200
    assert document.json()["openapi"].startswith("3.1")
    assert "/api/v1/models/{name}" in "".join(document.json()["paths"]) or document.json()["paths"]


def test_files_beside_the_assets_are_not_served(gateway: GatewayUnderTest) -> None:
    for path in ("/docs/core.py", "/docs/../settings.py", "/docs/%2e%2e%2fcore.py", "/docs/swagger-ui.css/.."):
        response = gateway.client.get(path)
        assert response.status_code in (307, 200, 404)
        assert "import" not in response.text[:2000]


def test_a_form_is_exchanged_for_a_token(gateway: GatewayUnderTest) -> None:
    gateway.answer("users", EXCHANGE, _token)

    response = gateway.client.post("/api/v1/auth/token", headers=FORM, content="grant_type=password&username=ada&password=a%26b+c%C3%BC")

    assert response.status_code == 200
    assert response.json() == {"access_token": "a.b.c", "token_type": "Bearer", "expires_in": 900, "refresh_token": "r", "scope": ""}
    assert response.headers["cache-control"] == "no-store"
    (call,) = gateway.components["users"].calls(EXCHANGE)
    assert (call.request.username, call.request.password) == ("ada", "a&b cü")


def test_json_goes_the_other_way_and_means_the_same(gateway: GatewayUnderTest) -> None:
    gateway.answer("users", EXCHANGE, _token)

    of_form = gateway.client.post("/api/v1/auth/token", headers=FORM, content="grant_type=refresh_token&refresh_token=r").json()
    of_json = gateway.client.post("/api/v1/auth/token", json={"grant_type": "refresh_token", "refresh_token": "r"}).json()

    first, second = gateway.components["users"].calls(EXCHANGE)
    assert of_form == of_json
    assert first.request == second.request


def test_a_client_may_name_itself_by_basic_authorization(gateway: GatewayUnderTest) -> None:
    gateway.answer("users", EXCHANGE, _token)
    credentials = base64.b64encode(b"key-1:mlm_1_secret").decode()

    gateway.client.post(
        "/api/v1/auth/token", headers={**FORM, "authorization": f"Basic {credentials}"}, content="grant_type=client_credentials"
    )

    (call,) = gateway.components["users"].calls(EXCHANGE)
    assert (call.request.client_id, call.request.client_secret) == ("key-1", "mlm_1_secret")


def test_a_refusal_has_the_shape_of_all_errors_and_what_oauth2_clients_look_for(gateway: GatewayUnderTest) -> None:
    gateway.answer("users", EXCHANGE, _refuse(code_pb2.UNAUTHENTICATED, "WRONG_CREDENTIALS"))

    response = gateway.client.post("/api/v1/auth/token", headers=FORM, content="grant_type=password&username=a&password=b")

    assert response.status_code == 401
    body = response.json()
    assert (body["error"], body["error_description"]) == ("invalid_grant", "no")
    assert (body["code"], body["message"], body["details"][0]["reason"]) == (16, "no", "WRONG_CREDENTIALS")


def test_an_unknown_grant_is_400_unsupported_grant_type(gateway: GatewayUnderTest) -> None:
    gateway.answer("users", EXCHANGE, _refuse(code_pb2.INVALID_ARGUMENT, "UNSUPPORTED_GRANT_TYPE", oauth_error="unsupported_grant_type"))

    response = gateway.client.post("/api/v1/auth/token", headers=FORM, content="grant_type=magic")

    assert (response.status_code, response.json()["error"]) == (400, "unsupported_grant_type")


def test_a_malformed_form_is_400_without_asking_anybody(gateway: GatewayUnderTest) -> None:
    for content in ("grant_type=password&grant_type=other", "novalue", "a=%ff"):
        response = gateway.client.post("/api/v1/auth/token", headers=FORM, content=content)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")

    assert gateway.components["users"].calls(EXCHANGE) == []
