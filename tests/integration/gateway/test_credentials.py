"""Who gets in: tokens over REST and gRPC, API keys, and what is passed on."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import grpc
import jwt
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.type.v3 import http_status_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.registry.v1 import registry_service_pb2 as pb
from mlops.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceStub

from tests.integration.gateway.mesh_in_memory import GET_MODEL, GatewayUnderTest, Keys, bearer, short_folder

MakeToken = Callable[[Keys], str]


def _hs_for_rs(keys: Keys) -> str:
    """Signed with the public key as if it were a shared secret."""
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": keys.kid}).encode()).rstrip(b"=")
    claims = jwt.decode(keys.token(), options={"verify_signature": False})
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return f"{header.decode()}.{body.decode()}.{base64.urlsafe_b64encode(b'x' * 32).decode().rstrip('=')}"


def _alg_none(keys: Keys) -> str:
    return jwt.encode(jwt.decode(keys.token(), options={"verify_signature": False}), "", algorithm="none")


BAD_TOKENS: dict[str, tuple[MakeToken, str]] = {
    "expired": (lambda keys: keys.token(exp=int(time.time()) - 60), "TOKEN_EXPIRED"),
    "of another audience": (lambda keys: keys.token(aud="elsewhere"), "TOKEN_AUDIENCE"),
    "of another issuer": (lambda keys: keys.token(iss="elsewhere"), "TOKEN_ISSUER"),
    "not valid yet": (lambda keys: keys.token(nbf=int(time.time()) + 600), "TOKEN_NOT_YET_VALID"),
    "signed with another key": (lambda keys: Keys(keys.kid).token(), "TOKEN_SIGNATURE"),
    "signed with an unknown key id": (lambda keys: Keys("k9").token(), "TOKEN_SIGNATURE"),
    "of algorithm none": (_alg_none, "TOKEN_MALFORMED"),
    "of HS256 for RS256": (_hs_for_rs, "TOKEN_SIGNATURE"),
    "no JWT at all": (lambda _: "rubbish", "TOKEN_MALFORMED"),
}


@pytest.mark.parametrize(("make", "reason"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_401_over_rest_and_unauthenticated_over_grpc_with_one_reason(
    gateway: GatewayUnderTest, make: MakeToken, reason: str
) -> None:
    token = make(gateway.keys)

    response = gateway.client.get("/api/v1/models/m", headers=bearer(token))
    with gateway.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        ModelRegistryServiceStub(channel).GetModel(pb.GetModelRequest(name="m"), metadata=list(bearer(token).items()))

    assert response.status_code == 401
    assert response.json()["code"] == 16
    assert response.json()["details"][0]["reason"] == reason
    assert _reason_of(refused.value) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert gateway.components["registry"].seen == []


def test_a_missing_token_says_how_to_send_one(gateway: GatewayUnderTest) -> None:
    response = gateway.client.get("/api/v1/models/m")

    assert response.status_code == 401
    assert response.json()["details"][0]["reason"] == "TOKEN_MISSING"
    assert "Authorization: Bearer" in response.json()["message"]


def test_a_valid_token_reaches_the_server_which_sees_it_again(gateway: GatewayUnderTest) -> None:
    token = gateway.keys.token("ada")

    response = gateway.client.get("/api/v1/models/m", headers=bearer(token))

    assert response.status_code == 200
    (call,) = gateway.components["registry"].calls(GET_MODEL)
    assert call.metadata["authorization"] == f"Bearer {token}"
    assert call.request.name == "m"


def test_public_methods_need_no_token(gateway: GatewayUnderTest) -> None:
    assert gateway.client.get("/api/v1/health").status_code == 200
    assert gateway.client.get("/.well-known/jwks.json").json() == json.loads(gateway.keys.jwks())


def test_a_client_cannot_name_its_own_subject_nor_talk_as_the_mesh(gateway: GatewayUnderTest) -> None:
    forged = {"x-mlmesh-subject": "root", "x-envoy-original-path": "/else", "x-envoy-retry-on": "5xx", "x-envoy-max-retries": "9"}

    gateway.client.get("/api/v1/models/m", headers={**gateway.auth, **forged})
    gateway.client.get("/api/v1/health", headers=forged)

    (private,), (public,) = gateway.components["registry"].seen, gateway.components["system"].seen
    assert private.metadata["x-mlmesh-subject"] == "ada"
    assert "x-mlmesh-subject" not in public.metadata
    assert private.metadata["x-envoy-original-path"] == "/api/v1/models/m"
    assert "x-envoy-retry-on" not in private.metadata


def test_keys_that_rotate_are_taken_over_without_a_new_listener(gateway: GatewayUnderTest) -> None:
    new = Keys("k2")
    before = gateway.envoy.admin.stat("listener_manager.listener_modified")
    try:
        assert gateway.client.get("/api/v1/models/m", headers=bearer(new.token())).status_code == 401
        gateway.publish(jwks=new.jwks(gateway.keys))

        assert gateway.client.get("/api/v1/models/m", headers=bearer(new.token())).status_code == 200
        assert gateway.client.get("/api/v1/models/m", headers=gateway.auth).status_code == 200
        gateway.publish(jwks=new.jwks())
        assert gateway.client.get("/api/v1/models/m", headers=gateway.auth).status_code == 401
    finally:
        gateway.publish()
    assert gateway.envoy.admin.stat("listener_manager.listener_modified") == before


class _KeyChecker(external_auth_pb2_grpc.AuthorizationServicer):
    """Exchanges the one good key for a token, as the users server does."""

    def __init__(self, gateway: GatewayUnderTest) -> None:
        self.gateway = gateway
        self.asked: list[dict[str, str]] = []

    def Check(self, request: external_auth_pb2.CheckRequest, context: grpc.ServicerContext) -> external_auth_pb2.CheckResponse:
        headers = dict(request.attributes.request.http.headers)
        self.asked.append(headers)
        key = headers.get("x-api-key") or headers["authorization"].removeprefix("Bearer ")
        response = external_auth_pb2.CheckResponse()
        if key != "mlm_good_secret":
            response.status.code = grpc.StatusCode.UNAUTHENTICATED.value[0]
            response.denied_response.status.code = http_status_pb2.Unauthorized
            return response
        token = base_pb2.HeaderValue(key="authorization", value=f"Bearer {self.gateway.keys.token('robot')}")
        response.ok_response.headers.add(header=token, append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
        response.ok_response.headers_to_remove.append("x-api-key")
        return response


@pytest.fixture(scope="module")
def key_checker(shared_gateway: GatewayUnderTest) -> _KeyChecker:
    checker = _KeyChecker(shared_gateway)
    shared_gateway.replace("users", lambda server: external_auth_pb2_grpc.add_AuthorizationServicer_to_server(checker, server))
    return checker


@pytest.mark.parametrize("headers", [{"x-api-key": "mlm_good_secret"}, bearer("mlm_good_secret")], ids=["X-API-Key", "Bearer"])
def test_an_api_key_is_exchanged_for_a_token_and_never_reaches_a_server(
    gateway: GatewayUnderTest, key_checker: _KeyChecker, headers: dict[str, str]
) -> None:
    response = gateway.client.get("/api/v1/models/m", headers=headers)

    assert response.status_code == 200, response.text
    (call,) = gateway.components["registry"].calls(GET_MODEL)
    assert jwt.decode(call.metadata["authorization"].removeprefix("Bearer "), options={"verify_signature": False})["sub"] == "robot"
    assert call.metadata["x-mlmesh-subject"] == "robot"
    assert "x-api-key" not in call.metadata


def test_a_bad_api_key_is_401_in_the_same_shape(gateway: GatewayUnderTest, key_checker: _KeyChecker) -> None:
    response = gateway.client.get("/api/v1/models/m", headers={"x-api-key": "mlm_bad_secret"})

    assert response.status_code == 401
    assert response.json()["details"][0]["reason"] == "API_KEY_INVALID"


def test_the_users_server_is_not_asked_about_tokens_nor_for_public_methods(gateway: GatewayUnderTest, key_checker: _KeyChecker) -> None:
    key_checker.asked.clear()

    gateway.client.get("/api/v1/models/m", headers=gateway.auth)
    gateway.client.get("/api/v1/models/m")
    gateway.client.get("/api/v1/health", headers={"x-api-key": "mlm_good_secret"})

    assert key_checker.asked == []


def test_while_the_users_server_is_away_tokens_work_and_keys_are_503() -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, retries=0)
        try:
            gateway.start()
            gateway.components["users"].stop()

            by_token = gateway.client.get("/api/v1/models/m", headers=gateway.auth)
            by_key = gateway.client.get("/api/v1/models/m", headers={"x-api-key": "mlm_good_secret"})

            assert by_token.status_code == 200
            assert by_key.status_code == 503
            assert by_key.json()["details"][0]["reason"] == "COMPONENT_UNAVAILABLE"
        finally:
            gateway.stop()


def _reason_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert status.message == error.details()
    return error.code(), info.reason
