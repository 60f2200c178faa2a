"""Contracts that are not ours: a policy a method, and a project that comes by header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from mlops.common.v1.options_pb2 import ACCESS_PERMISSION, IDEMPOTENCY_READ_ONLY, RATE_CLASS_READ, MethodPolicy

from servers.runtime.auth import current_project
from servers.runtime.registration import ContractError, Registration

PERMITTED = MethodPolicy(
    access=ACCESS_PERMISSION, permission="echo.echoes.read", idempotency=IDEMPOTENCY_READ_ONLY, rate_class=RATE_CLASS_READ
)


@pytest.fixture
def projects() -> list[str]:
    """The project of each call that reached the servicer."""
    return []


@pytest.fixture
def foreign(pb: Any, echo_grpc: Any, projects: list[str]) -> Callable[..., Registration]:
    class Foreign(echo_grpc.UnguardedServiceServicer):
        def Forgotten(self, request: Any, context: Any) -> Any:
            projects.append(current_project())
            return pb.PingResponse()

    return lambda **options: Registration(echo_grpc.add_UnguardedServiceServicer_to_server, Foreign(), **options)


def test_each_method_has_the_policy_that_is_named_for_it(
    serve: Callable[..., Any], foreign: Callable[..., Registration], pb: Any, echo_grpc: Any, bearer: Callable[..., Any]
) -> None:
    server = serve(servicers=[foreign(policy={"Forgotten": PERMITTED})])

    with grpc.insecure_channel(server.address) as channel:
        stub = echo_grpc.UnguardedServiceStub(channel)
        stub.Forgotten(pb.PingRequest(), metadata=bearer({"*": ["echo.echoes.read"]}))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Forgotten(pb.PingRequest(), metadata=bearer({"*": ["echo.echoes.write"]}))

    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_method_without_a_policy_keeps_the_server_from_starting(serve: Callable[..., Any], foreign: Callable[..., Registration]) -> None:
    with pytest.raises(ContractError, match="Forgotten has no policy"):
        serve(servicers=[foreign(policy={"Another": PERMITTED})])


def test_a_permission_is_checked_in_the_project_that_the_header_names(
    serve: Callable[..., Any],
    foreign: Callable[..., Registration],
    projects: list[str],
    pb: Any,
    echo_grpc: Any,
    bearer: Callable[..., Any],
) -> None:
    server = serve(servicers=[foreign(policy={"Forgotten": PERMITTED}, project_header="x-mlmesh-project")])
    caller = bearer({"fares": ["echo.echoes.read"]})

    with grpc.insecure_channel(server.address) as channel:
        stub = echo_grpc.UnguardedServiceStub(channel)
        stub.Forgotten(pb.PingRequest(), metadata=[*caller, ("x-mlmesh-project", "fares")])
        with pytest.raises(grpc.RpcError) as elsewhere:
            stub.Forgotten(pb.PingRequest(), metadata=[*caller, ("x-mlmesh-project", "routes")])
        with pytest.raises(grpc.RpcError) as nowhere:
            stub.Forgotten(pb.PingRequest(), metadata=caller)

    assert projects == ["fares"]
    assert {elsewhere.value.code(), nowhere.value.code()} == {grpc.StatusCode.PERMISSION_DENIED}


def test_a_server_that_reads_no_header_keeps_callers_in_the_default_project(
    serve: Callable[..., Any],
    foreign: Callable[..., Registration],
    projects: list[str],
    pb: Any,
    echo_grpc: Any,
    bearer: Callable[..., Any],
) -> None:
    server = serve(servicers=[foreign(policy={"Forgotten": PERMITTED})])

    with grpc.insecure_channel(server.address) as channel:
        metadata = [*bearer(), ("x-mlmesh-project", "fares")]
        echo_grpc.UnguardedServiceStub(channel).Forgotten(pb.PingRequest(), metadata=metadata)

    assert projects == ["default"]
