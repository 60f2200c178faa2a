from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from servers.runtime.server import PUBLIC, ContractError, Registration
from tests.integration.runtime.rich_errors import refused


def test_a_caller_is_known_to_the_servicer(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    answer = stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(kind="service"))

    assert (answer.subject, answer.kind, answer.project) == ("ada", "service", "default")


def test_one_callers_identity_never_leaks_into_the_next_call(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    for number in range(50):
        assert stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(sub=f"user-{number}")).subject == f"user-{number}"
        stub.Ping(pb.PingRequest())


def test_a_public_method_ignores_even_a_broken_token(stub: Any, pb: Any) -> None:
    stub.Ping(pb.PingRequest(), metadata=[("authorization", "Bearer nonsense")])


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([], "TOKEN_MISSING"),
        ([("authorization", "Basic YTpi")], "TOKEN_MALFORMED"),
        ([("authorization", "Bearer nonsense")], "TOKEN_MALFORMED"),
    ],
)
def test_a_missing_or_foreign_token_is_unauthenticated(stub: Any, pb: Any, metadata: Any, reason: str) -> None:
    refusal = refused(lambda: stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


def test_an_expired_token_is_told_from_one_for_another_audience(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    expired = refused(lambda: stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(exp=int(time.time()) - 60)))
    foreign = refused(lambda: stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(aud="another")))

    assert (expired.reason, foreign.reason) == ("TOKEN_EXPIRED", "TOKEN_AUDIENCE")


def test_a_caller_without_the_permission_is_told_which_one_and_where(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    metadata = bearer({"default": ["test.echoes.read"]})

    assert stub.Echo(pb.EchoRequest(text="a"), metadata=metadata).text == "a"
    refusal = refused(lambda: stub.Echo(pb.EchoRequest(project="secret"), metadata=metadata))

    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    info = refusal.the(error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("PERMISSION_DENIED", {"permission": "test.echoes.read", "project": "secret"})


def test_no_grants_mean_no_access(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    assert refused(lambda: stub.Echo(pb.EchoRequest(), metadata=bearer({}))).code is grpc.StatusCode.PERMISSION_DENIED


def test_a_permission_is_checked_before_the_request_is_validated(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(lambda: stub.Echo(pb.EchoRequest(count=-1), metadata=bearer({})))

    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


def test_the_project_of_a_carried_resource_is_checked_too(stub: Any, pb: Any, bearer: Callable[..., Any], echo: Any) -> None:
    metadata = bearer({"default": ["test.*"], "mine": ["test.*"]})

    stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(project="mine")), metadata=metadata)
    refusal = refused(lambda: stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(project="theirs")), metadata=metadata))

    assert refusal.the(error_details_pb2.ErrorInfo).metadata["project"] == "theirs"
    assert echo.things_created == 1


def test_every_message_of_a_stream_is_checked(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    metadata = bearer({"mine": ["test.echoes.write"]})
    requests = [pb.EchoRequest(text="a", project="mine"), pb.EchoRequest(text="b", project="theirs")]

    refusal = refused(lambda: stub.Collect(iter(requests), metadata=metadata))

    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert stub.Collect(iter(requests[:1]), metadata=metadata).text == "a"


def test_a_stream_of_a_caller_without_any_grant_never_reaches_the_servicer(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    """Chat greets before it reads, so a check of the first message would come too late."""
    responses = stub.Chat(iter([]), metadata=bearer({"default": ["other.*"]}))

    assert refused(lambda: list(responses)).code is grpc.StatusCode.PERMISSION_DENIED


def test_a_service_without_policies_keeps_the_server_from_starting(serve: Callable[..., Any], echo_grpc: Any) -> None:
    unguarded = Registration(echo_grpc.add_UnguardedServiceServicer_to_server, echo_grpc.UnguardedServiceServicer())

    with pytest.raises(ContractError, match=r"/mlmesh_test.v1.UnguardedService/Forgotten has no option"):
        serve(servicers=[unguarded])


def test_a_contract_that_is_not_ours_is_served_under_the_policy_given_for_it(serve: Callable[..., Any], pb: Any, echo_grpc: Any) -> None:
    class Foreign(echo_grpc.UnguardedServiceServicer):
        def Forgotten(self, request: Any, context: Any) -> Any:
            return pb.PingResponse()

    server = serve(servicers=[Registration(echo_grpc.add_UnguardedServiceServicer_to_server, Foreign(), policy=PUBLIC)])

    with grpc.insecure_channel(server.address) as channel:
        echo_grpc.UnguardedServiceStub(channel).Forgotten(pb.PingRequest())


def test_a_server_that_could_verify_nothing_does_not_start(serve: Callable[..., Any]) -> None:
    with pytest.raises(ContractError, match="users_address"):
        serve(verifier=None)


def test_health_and_reflection_need_no_token(serve: Callable[..., Any]) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        alive = health.Check(health_pb2.HealthCheckRequest())
        ready = health.Check(health_pb2.HealthCheckRequest(service="mlmesh_test.v1.EchoService"))
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))

    assert alive.status == ready.status == health_pb2.HealthCheckResponse.SERVING
    assert {service.name for service in answer.list_services_response.service} == {
        "mlmesh_test.v1.EchoService",
        "mlops.common.v1.ComponentService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
