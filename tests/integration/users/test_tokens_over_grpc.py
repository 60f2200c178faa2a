from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb

from servers.runtime.auth import TokenVerifier, keys_of_jwks
from servers.runtime.errors import Unauthenticated
from servers.runtime.settings import ServerSettings
from servers.runtime.users_client import remote_keys
from servers.users.composition import open_domain
from tests.integration.users.served import Served, bearer, refusal
from tests.users_under_test import PASSWORD

API_KEY_GRANT = "urn:mlmesh:params:oauth:grant-type:api-key"


# Tokens do not depend on the kind of database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def eventually(condition: Callable[[], bool], within_s: float) -> float:
    """Waits for a condition, and gives how long that took in seconds."""
    started, pause = time.monotonic(), threading.Event()
    while not condition():
        assert time.monotonic() - started < within_s, "it did not come true in time"
        pause.wait(0.05)
    return time.monotonic() - started


class Forger:
    """Makes tokens that are wrong in one thing."""

    def __init__(self, served: Served) -> None:
        domain = open_domain(served.settings, served.clock)
        self.signer = domain.signing_keys.signer()
        domain.engine.dispose()
        self.claims: dict[str, Any] = jwt.decode(served.login().access_token, options={"verify_signature": False})

    def token(self, *, kid: str | None = None, key: Any = None, algorithm: str = "RS256", **changes: Any) -> str:
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return jwt.encode(claims, key or self.signer.private_key, algorithm=algorithm, headers={"kid": kid or self.signer.key_id})

    def public_pem(self) -> bytes:
        return self.signer.private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def hmac_by_hand(self) -> str:
        """PyJWT refuses to sign with a PEM as the secret; an attacker does not."""
        import hashlib
        import hmac

        head = _part({"alg": "HS256", "typ": "JWT", "kid": self.signer.key_id}) + "." + _part(self.claims)
        signature = hmac.new(self.public_pem(), head.encode(), hashlib.sha256).digest()
        return head + "." + base64.urlsafe_b64encode(signature).decode().rstrip("=")

    def unsigned(self, algorithm: str) -> str:
        return _part({"alg": algorithm, "typ": "JWT", "kid": self.signer.key_id}) + "." + _part(self.claims) + "."


def _part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def forgeries(forger: Forger) -> dict[str, tuple[str, str]]:
    now = int(forger.claims["iat"])
    other = rsa.generate_private_key(65537, 2048)
    good = forger.token()
    return {
        "wrong audience": (forger.token(aud="another"), "TOKEN_AUDIENCE"),
        "no audience": (forger.token(aud=None), "TOKEN_AUDIENCE"),
        "wrong issuer": (forger.token(iss="another"), "TOKEN_ISSUER"),
        "expired": (forger.token(iat=now - 1000, exp=now - 100), "TOKEN_EXPIRED"),
        "without expiry": (forger.token(exp=None), "TOKEN_EXPIRED"),
        "from the future": (forger.token(iat=now + 1000, exp=now + 2000), "TOKEN_NOT_YET_VALID"),
        "alg none": (forger.unsigned("none"), "TOKEN_SIGNATURE"),
        "alg None": (forger.unsigned("None"), "TOKEN_SIGNATURE"),
        "HS for RS": (forger.hmac_by_hand(), "TOKEN_SIGNATURE"),
        "RS512": (forger.token(algorithm="RS512"), "TOKEN_SIGNATURE"),
        "another key": (forger.token(key=other), "TOKEN_SIGNATURE"),
        "unknown key id": (forger.token(kid="nobody"), "TOKEN_SIGNATURE"),
        "changed claims": (".".join([good.split(".")[0], _part(forger.claims | {"sub": "eve"}), good.split(".")[2]]), "TOKEN_SIGNATURE"),
        "cut off": (good[:-22], "TOKEN_SIGNATURE"),
        "not a token": ("garbage", "TOKEN_MALFORMED"),
        "empty": ("", "TOKEN_MALFORMED"),
    }


def test_every_kind_of_bad_token_is_unauthenticated_and_says_why(served: Served) -> None:
    forger = Forger(served)
    assert served.users.GetMe(pb.GetMeRequest(), metadata=bearer(forger.token())).user.username == "admin"

    for name, (token, reason) in forgeries(forger).items():
        refused = refusal(lambda token=token: served.users.GetMe(pb.GetMeRequest(), metadata=bearer(token)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), name
    refused = refusal(lambda: served.users.GetMe(pb.GetMeRequest()))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_an_api_key_is_no_token(served: Served) -> None:
    key = (served.settings.data_dir / "token").read_text().strip()

    assert refusal(lambda: served.users.GetMe(pb.GetMeRequest(), metadata=bearer(key))).code is grpc.StatusCode.UNAUTHENTICATED


def test_a_token_expires(served: Served) -> None:
    admin = served.admin()
    served.clock.advance(904)
    served.users.GetMe(pb.GetMeRequest(), metadata=admin)
    served.clock.advance(1)

    assert refusal(lambda: served.users.GetMe(pb.GetMeRequest(), metadata=admin)).reason == "TOKEN_EXPIRED"


def test_the_key_set_verifies_the_tokens(served: Served) -> None:
    token = served.login().access_token
    answer = served.users.GetJwks(pb.GetJwksRequest())

    key = keys_of_jwks(answer.data)[jwt.get_unverified_header(token)["kid"]]
    assert answer.content_type == "application/json"
    assert jwt.decode(token, key, ["RS256"], audience="mlmesh", options={"verify_exp": False, "verify_iat": False})["name"] == "admin"


def test_a_call_without_the_permission_is_denied_and_named(served: Served) -> None:
    served.users.CreateUser(pb.CreateUserRequest(user=user_pb2.User(username="ada", password=PASSWORD)), metadata=served.admin())
    ada = bearer(served.login("ada").access_token)

    refused = refusal(lambda: served.users.ListUsers(pb.ListUsersRequest(), metadata=ada))

    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert refused.metadata == {"permission": "users.users.read", "project": "default"}
    assert served.users.GetMe(pb.GetMeRequest(), metadata=ada).user.username == "ada"


def test_a_logout_ends_the_token_within_five_seconds(served: Served) -> None:
    tokens = served.login()
    session = served.users.GetMe(pb.GetMeRequest(), metadata=bearer(tokens.access_token)).session_id
    assert session
    served.users.Logout(pb.LogoutRequest(), metadata=bearer(tokens.access_token))

    def is_refused() -> bool:
        try:
            served.users.GetMe(pb.GetMeRequest(), metadata=bearer(tokens.access_token))
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    assert eventually(is_refused, within_s=5) < 5
    refused = refusal(lambda: served.users.RefreshToken(pb.RefreshTokenRequest(refresh_token=tokens.refresh_token)))
    assert refused.reason == "REFRESH_TOKEN_INVALID"


def test_a_revoked_key_is_refused_on_another_server_within_five_seconds(served: Served) -> None:
    keys = remote_keys(ServerSettings(data_dir=served.settings.data_dir, users_address=served.server.address))
    keys.start()
    try:
        elsewhere = TokenVerifier(keys, "mlmesh", "mlmesh", keys, clock=lambda: served.clock().timestamp())
        admin = served.admin()
        made = served.users.CreateApiKey(pb.CreateApiKeyRequest(api_key=user_pb2.ApiKey(display_name="ci")), metadata=admin)
        token = served.users.ExchangeToken(pb.ExchangeTokenRequest(grant_type=API_KEY_GRANT, api_key=made.secret)).access_token
        assert elsewhere.verify(token).kind == "api_key"

        served.users.RevokeApiKey(pb.RevokeApiKeyRequest(id=made.api_key.id), metadata=admin)

        def is_refused() -> bool:
            try:
                elsewhere.verify(token)
            except Unauthenticated as refused:
                return refused.reason == "TOKEN_REVOKED"
            return False

        assert eventually(is_refused, within_s=5) < 5
        refused = refusal(lambda: served.users.ExchangeToken(pb.ExchangeTokenRequest(grant_type=API_KEY_GRANT, api_key=made.secret)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
    finally:
        keys.close()


def test_a_withdrawn_signing_key_ends_tokens_everywhere(served: Served) -> None:
    admin = served.admin()
    domain = open_domain(served.settings, served.clock)
    domain.signing_keys.rotate(withdraw=True)
    domain.engine.dispose()

    def is_refused() -> bool:
        try:
            served.users.GetMe(pb.GetMeRequest(), metadata=admin)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    assert eventually(is_refused, within_s=15)
    served.users.GetMe(pb.GetMeRequest(), metadata=served.admin())


def test_refusals_of_the_token_endpoint_carry_the_words_of_oauth(served: Served) -> None:
    exchange = served.users.ExchangeToken
    cases = [
        (pb.ExchangeTokenRequest(grant_type="implicit"), grpc.StatusCode.INVALID_ARGUMENT, "unsupported_grant_type"),
        (pb.ExchangeTokenRequest(grant_type="password", username="admin"), grpc.StatusCode.INVALID_ARGUMENT, "invalid_request"),
        (pb.ExchangeTokenRequest(grant_type="password", username="x", password="y"), grpc.StatusCode.UNAUTHENTICATED, "invalid_grant"),
        (pb.ExchangeTokenRequest(grant_type="refresh_token", refresh_token="x"), grpc.StatusCode.UNAUTHENTICATED, "invalid_grant"),
        (pb.ExchangeTokenRequest(grant_type=API_KEY_GRANT, api_key="x"), grpc.StatusCode.UNAUTHENTICATED, "invalid_client"),
        (
            pb.ExchangeTokenRequest(grant_type="client_credentials", client_id="x", client_secret="y"),
            grpc.StatusCode.UNAUTHENTICATED,
            "invalid_client",
        ),
        (
            pb.ExchangeTokenRequest(grant_type="password", username="admin", password=PASSWORD, scope="Nonsense!"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "invalid_scope",
        ),
    ]
    for request, code, oauth_error in cases:
        refused = refusal(lambda request=request: exchange(request))
        assert (refused.code, refused.metadata["oauth_error"]) == (code, oauth_error)
