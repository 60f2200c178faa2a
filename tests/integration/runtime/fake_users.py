"""The part of the users server that other servers call, without its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api import httpbody_pb2
from google.protobuf import empty_pb2
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1 import users_service_pb2_grpc

from servers.runtime.errors import InvalidArgument, Unauthenticated


class FakeUsers(users_service_pb2_grpc.UserServiceServicer):
    def __init__(self, key: rsa.RSAPrivateKey, key_id: str, make_token: Callable[..., str]) -> None:
        self.keys = {key_id: key}
        self.revoked: set[str] = set()
        self.api_keys = {"mlm_1_good"}
        self.exchanges = 0
        self.events: dict[str, Any] = {}
        self.refused_methods: set[str] = set()
        self._make_token = make_token

    def GetJwks(self, request: Any, context: Any) -> Any:
        keys = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": key_id, "use": "sig"}
            for key_id, key in self.keys.items()
        ]
        return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps({"keys": keys}).encode())

    def ListRevocations(self, request: Any, context: Any) -> Any:
        return pb.ListRevocationsResponse(session_ids=sorted(self.revoked))

    def ExchangeToken(self, request: Any, context: Any) -> Any:
        if request.api_key not in self.api_keys:
            raise Unauthenticated("No such key.", reason="API_KEY_UNKNOWN")
        self.exchanges += 1
        token = self._make_token(sub="mesh", kind="service", sid=f"key-{self.exchanges}")
        return pb.TokenResponse(access_token=token, token_type="Bearer", expires_in=900)

    def AppendAuditEvents(self, request: Any, context: Any) -> Any:
        for event in request.events:
            if event.method in self.refused_methods:
                raise InvalidArgument("This one is wrong.")
        for event in request.events:
            self.events.setdefault(event.id, event)
        return empty_pb2.Empty()
