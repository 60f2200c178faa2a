"""A users server over a real socket, and how its tests talk to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from servers.runtime.server import Server
from servers.users.settings import UsersSettings
from tests.users_under_test import PASSWORD, FakeClock

Metadata = list[tuple[str, str]]


def bearer(token: str) -> Metadata:
    return [("authorization", f"Bearer {token}")]


@dataclass(frozen=True)
class Served:
    """A running server with a client."""

    server: Server
    settings: UsersSettings
    clock: FakeClock
    channel: grpc.Channel
    users: UserServiceStub

    def login(self, username: str = "admin", password: str = PASSWORD) -> pb.TokenResponse:
        return self.users.Login(pb.LoginRequest(username=username, password=password))

    def admin(self) -> Metadata:
        return bearer(self.login().access_token)


@dataclass(frozen=True)
class Refusal:
    """A call that failed, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]


def refusal(call: Callable[[], Any]) -> Refusal:
    """Makes a call that has to fail with a rich status."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    error: Any = raised.value
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without a rich status: {error.details()}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    infos = [detail for detail in status.details if detail.Is(info.DESCRIPTOR)]
    assert len(infos) == 1
    infos[0].Unpack(info)
    assert info.domain == "mlmesh"
    for detail in status.details:
        detail.Unpack(bad)
    return Refusal(error.code(), error.details(), info.reason, dict(info.metadata), [violation.field for violation in bad.field_violations])
