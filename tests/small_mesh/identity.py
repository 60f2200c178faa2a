"""Keys, tokens and a users server that knows just enough for other servers to run beside it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from jwt.algorithms import RSAAlgorithm
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1 import users_service_pb2_grpc

from servers.runtime.audit_events import LogAuditSink
from servers.runtime.keys import LocalKeys
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.settings import ServerSettings
from servers.runtime.tokens import TokenVerifier

KEY_ID = "test-key"
EVERYTHING: Mapping[str, Sequence[str]] = {"*": ["*"]}


class Issuer:
    """Makes tokens as the users server does."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(self, grants: Mapping[str, Sequence[str]] = EVERYTHING, name: str = "tester", kind: str = "user", **claims: Any) -> str:
        now = int(time.time())
        payload = {
            **{"iss": "mlmesh", "aud": "mlmesh", "sub": name, "name": name, "kind": kind, "grants": grants},
            **{"iat": now, "exp": now + 900, "jti": str(uuid.uuid4()), "sid": str(uuid.uuid4())},
            **claims,
        }
        return jwt.encode(payload, self._key, algorithm="RS256", headers={"kid": KEY_ID})

    def bearer(self, grants: Mapping[str, Sequence[str]] = EVERYTHING) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token(grants)}")]

    def jwks(self) -> bytes:
        key = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        return json.dumps({"keys": [{**key, "kid": KEY_ID, "use": "sig"}]}).encode()

    def verifier(self) -> TokenVerifier:
        return TokenVerifier(LocalKeys(lambda: {KEY_ID: self._key.public_key()}), "mlmesh", "mlmesh")


@dataclass(frozen=True)
class StaticToken:
    """An identity that is one token."""

    value: str

    def token(self) -> str:
        return self.value

    def discard(self, token: str) -> None:
        """There is no other."""


class SmallUsers(users_service_pb2_grpc.UserServiceServicer):
    """Hands out keys and service tokens, and keeps audit events."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.audited: list[str] = []

    def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=self._issuer.jwks())

    def ListRevocations(self, request: pb.ListRevocationsRequest, context: Any) -> pb.ListRevocationsResponse:
        return pb.ListRevocationsResponse()

    def ExchangeToken(self, request: pb.ExchangeTokenRequest, context: Any) -> pb.TokenResponse:
        return pb.TokenResponse(access_token=self._issuer.token(name="mesh", kind="service"), expires_in=900)

    def AppendAuditEvents(self, request: pb.AppendAuditEventsRequest, context: Any) -> empty_pb2.Empty:
        self.audited += [event.method for event in request.events]
        return empty_pb2.Empty()


def small_users(issuer: Issuer, folder: Path) -> tuple[Server, SmallUsers, Path]:
    """A users server, not started, and the key file of the service account."""
    key_file = folder / "mesh.key"
    key_file.write_text("mlm_service_key")
    servicer = SmallUsers(issuer)
    settings = ServerSettings(data_dir=folder, listen=f"unix:{folder}/users.sock", drain_s=0)
    registration = Registration(users_service_pb2_grpc.add_UserServiceServicer_to_server, servicer)
    server = build_server(settings, [registration], component="users", verifier=issuer.verifier(), audit=LogAuditSink())
    return server, servicer, key_file
