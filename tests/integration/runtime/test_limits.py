"""Too many calls, and too large ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servers.runtime import server as server_module
from servers.runtime.admission import REFUSED
from tests.integration.runtime.rich_errors import refusal_of, refused
from tests.integration.runtime.waiting import eventually

WITHOUT_DETAILS = "grpc-status-details-bin"


@pytest.fixture
def crowd(serve: Callable[..., Any], connect: Callable[..., Any], pb: Any, bearer: Any, echo: Any) -> Iterator[Callable[..., Any]]:
    """Starts a server with limits and as many calls as it takes, which last until `echo.go_on`; gives a stub of it and the calls."""
    accepted: list[Any] = []

    def fill(**settings: Any) -> tuple[Any, list[Any]]:
        stub = connect(serve(settings=settings).address)
        echo.go_on.clear()
        metadata = bearer()
        request = pb.CreateThingRequest(thing=pb.Thing(name="x"))
        # One more than it takes: when that one is refused, whichever it is, all the others have arrived.
        calls = [stub.CreateThing.future(request, metadata=metadata) for _ in range(settings["max_concurrent_calls"] + 1)]
        eventually(lambda: any(call.done() for call in calls))
        accepted.extend(call for call in calls if not call.done())
        return stub, accepted

    yield fill
    echo.go_on.set()
    for call in accepted:
        call.exception(60)


def is_refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except grpc.RpcError:
        return True
    return False


def test_a_call_too_many_is_refused_with_a_reason_and_when_to_come_back(crowd: Any, pb: Any, bearer: Any, echo: Any) -> None:
    stub, running = crowd(max_concurrent_calls=1)

    with pytest.raises(grpc.RpcError) as caught:
        stub.Ping(pb.PingRequest())
    refusal = refusal_of(caught.value)
    echo.go_on.set()

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER_OVERLOADED")
    assert dict(refusal.the(error_details_pb2.ErrorInfo).metadata) == {"max_concurrent_calls": "1"}
    assert refusal.the(error_details_pb2.RetryInfo).retry_delay.seconds == 1
    assert refusal.the(error_details_pb2.RequestInfo).request_id
    # Our channels and Envoy would repeat it at once.
    assert REFUSED not in dict(caught.value.trailing_metadata())
    assert [call.result(60).name for call in running] == ["x"]
    eventually(lambda: not is_refused(lambda: stub.Ping(pb.PingRequest())))


def test_calls_that_wait_for_a_thread_count_and_one_too_many_does_not_wait_behind_them(crowd: Any, pb: Any, echo: Any) -> None:
    stub, accepted = crowd(worker_threads=1, max_concurrent_calls=4)

    refusal = refused(lambda: stub.Ping(pb.PingRequest(), timeout=30))
    assert not any(call.done() for call in accepted)
    echo.go_on.set()

    assert refusal.reason == "SERVER_OVERLOADED"
    assert [call.result(60).name for call in accepted] == ["x"] * 4


def test_streams_are_refused_like_any_call(crowd: Any, pb: Any, bearer: Any) -> None:
    stub, _ = crowd(max_concurrent_calls=2)
    metadata, request = bearer(), pb.EchoRequest(text="x", count=1)

    refusals = [
        refused(lambda: stub.Echo(request, metadata=metadata)),
        refused(lambda: list(stub.EchoMany(request, metadata=metadata))),
        refused(lambda: stub.Collect(iter([request]), metadata=metadata)),
        refused(lambda: list(stub.Chat(iter([request]), metadata=metadata))),
    ]

    assert [refusal.reason for refusal in refusals] == ["SERVER_OVERLOADED"] * 4


def test_a_refused_call_has_no_effect(crowd: Any, pb: Any, bearer: Any, echo: Any) -> None:
    stub, running = crowd(max_concurrent_calls=1)

    refused(lambda: stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="y")), metadata=bearer()))
    echo.go_on.set()

    assert [call.result(60).name for call in running] == ["x"]
    assert echo.things_created == 1


def test_a_server_with_too_many_calls_still_says_that_it_is_healthy(
    serve: Callable[..., Any], connect: Callable[..., Any], pb: Any, bearer: Any, echo: Any
) -> None:
    """Envoy would take a busy server for an ill one, and send its calls to the next."""
    server = serve(settings={"worker_threads": 1, "max_concurrent_calls": 1})
    echo.go_on.clear()
    running = connect(server.address).CreateThing.future(pb.CreateThingRequest(thing=pb.Thing(name="x")), metadata=bearer())
    assert echo.entered.wait(60)

    with grpc.insecure_channel(server.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    echo.go_on.set()

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert running.result(60).name == "x"


def test_what_not_even_refusing_keeps_up_with_grpc_refuses_without_details(crowd: Any, pb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_REFUSALS", 0)
    stub, _ = crowd(max_concurrent_calls=1)

    with pytest.raises(grpc.RpcError) as caught:
        stub.Ping(pb.PingRequest())

    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    assert WITHOUT_DETAILS not in dict(caught.value.trailing_metadata())


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_a_message_above_the_limit_is_refused_by_grpc_without_details(
    serve: Callable[..., Any], connect: Callable[..., Any], pb: Any, bearer: Any, kind: str
) -> None:
    """As docs/errors.md says it."""
    stub, metadata = connect(serve(settings={"max_message_bytes": 4096}).address), bearer()
    request = pb.EchoRequest(text="x" * 5000)

    with pytest.raises(grpc.RpcError) as caught:
        stub.Echo(request, metadata=metadata) if kind == "unary" else stub.Collect(iter([request]), metadata=metadata)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"SERVER: Received message larger than max ({request.ByteSize()} vs. 4096)"
    assert WITHOUT_DETAILS not in dict(caught.value.trailing_metadata())


def test_an_answer_above_the_limit_is_refused_by_grpc_without_details(
    serve: Callable[..., Any], connect: Callable[..., Any], pb: Any, bearer: Any, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/errors.md says it."""
    answer = pb.EchoResponse(text="x" * 5000)
    monkeypatch.setattr(echo, "Echo", lambda request, context: answer)
    stub = connect(serve(settings={"max_message_bytes": 4096}).address)

    with pytest.raises(grpc.RpcError) as caught:
        stub.Echo(pb.EchoRequest(text="x"), metadata=bearer())

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"SERVER: Sent message larger than max ({answer.ByteSize()} vs. 4096)"
    assert WITHOUT_DETAILS not in dict(caught.value.trailing_metadata())
