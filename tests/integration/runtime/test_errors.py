from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from servers.runtime.errors import ERROR_DOMAIN
from tests.integration.runtime.rich_errors import refused


def one_way(kind: str, stub: Any, pb: Any, metadata: Any, **fields: Any) -> Any:
    """Makes the same call by each kind of RPC."""
    request = pb.EchoRequest(**fields)
    if kind == "unary":
        return stub.Echo(request, metadata=metadata)
    if kind == "server stream":
        return list(stub.EchoMany(request, metadata=metadata))
    if kind == "client stream":
        return stub.Collect(iter([pb.EchoRequest(text="a"), request]), metadata=metadata)
    return list(stub.Chat(iter([pb.EchoRequest(text="a"), request]), metadata=metadata))


KINDS = ["unary", "server stream", "client stream", "bidi stream"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_domain_error_arrives_with_its_code_reason_and_details(kind: str, stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(lambda: one_way(kind, stub, pb, bearer(), fail="not_found"))

    assert refusal.code is grpc.StatusCode.NOT_FOUND
    assert refusal.message == "No echo here."
    info = refusal.the(error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("ECHO_NOT_FOUND", ERROR_DOMAIN, {"place": "here"})
    assert refusal.the(error_details_pb2.ResourceInfo).resource_name == "here"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unforeseen_exception_tells_nothing_but_the_request_id(
    kind: str, stub: Any, pb: Any, bearer: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    metadata = [*bearer(), ("x-request-id", "req-42")]

    refusal = refused(lambda: one_way(kind, stub, pb, metadata, fail="bug"))

    assert refusal.code is grpc.StatusCode.INTERNAL
    assert refusal.reason == "INTERNAL"
    assert refusal.message == "Internal error. The server's log has the cause under request id req-42."
    assert refusal.the(error_details_pb2.RequestInfo).request_id == "req-42"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "hunter2" in str(record.exc_info[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_locked_database_is_unavailable_and_says_when_to_retry(kind: str, stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(lambda: one_way(kind, stub, pb, bearer(), fail="database"))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
    assert refusal.the(error_details_pb2.RetryInfo).retry_delay.seconds == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_of_a_request_is_validated(kind: str, stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(
        lambda: one_way(kind, stub, pb, bearer(), text="x" * 101, count=-1, labels={"team": ""}, parts=[pb.Part(key="a"), pb.Part()])
    )

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    assert set(refusal.fields) == {"text", "count", 'labels["team"]', "parts[1].key"}
    assert "100 characters" in refusal.fields["text"]
    assert "text" in refusal.message


def test_a_failed_precondition_names_what_has_to_change(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(lambda: stub.Echo(pb.EchoRequest(fail="precondition"), metadata=bearer()))

    (violation,) = refusal.the(error_details_pb2.PreconditionFailure).violations
    assert (refusal.code, violation.subject) == (grpc.StatusCode.FAILED_PRECONDITION, "echo")


def test_the_largest_error_that_a_server_sends_is_never_lost_on_the_way(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    """grpc drops trailers at random between 8 and 16 KiB, and the caller then sees RESOURCE_EXHAUSTED."""
    metadata = bearer()

    refusals = [refused(lambda: stub.Echo(pb.EchoRequest(fail="huge"), metadata=metadata)) for _ in range(100)]

    assert {refusal.code for refusal in refusals} == {grpc.StatusCode.FAILED_PRECONDITION}
    assert {refusal.reason for refusal in refusals} == {"FAILED_PRECONDITION"}
    assert all(refusal.all_of(error_details_pb2.BadRequest) for refusal in refusals)


def test_bytes_that_are_no_message_are_the_callers_fault(serve: Callable[..., Any], bearer: Callable[..., Any]) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        call = channel.unary_unary("/mlmesh_test.v1.EchoService/Echo")
        refusal = refused(lambda: call(b"\xff\xff\xff", metadata=bearer()))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")


def test_a_request_without_a_token_is_refused_before_it_is_parsed(serve: Callable[..., Any]) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        call = channel.unary_unary("/mlmesh_test.v1.EchoService/Echo")
        refusal = refused(lambda: call(b"\xff\xff\xff"))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_a_stream_ends_with_a_message_that_says_all_is_well(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    responses = list(stub.EchoMany(pb.EchoRequest(text="a", count=2), metadata=bearer()))

    assert [response.text for response in responses] == ["a0", "a1", ""]
    assert responses[-1].HasField("end")
    assert responses[-1].end.status.code == 0


def test_a_stream_that_fails_half_way_says_so_in_band_and_in_its_status(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    responses = stub.EchoMany(pb.EchoRequest(text="a", count=2, fail="not_found"), metadata=bearer())
    received = [next(responses) for _ in range(3)]
    refusal = refused(lambda: next(responses))

    assert [response.text for response in received] == ["a0", "a1", ""]
    assert received[-1].end.status.code == grpc.StatusCode.NOT_FOUND.value[0]
    assert refusal.reason == "ECHO_NOT_FOUND"


def test_a_stream_that_fails_before_its_first_item_is_an_ordinary_error(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    responses = stub.EchoMany(pb.EchoRequest(fail="not_found"), metadata=bearer())

    assert refused(lambda: next(responses)).code is grpc.StatusCode.NOT_FOUND


def test_a_made_up_request_id_is_replaced_by_one_that_can_be_logged(stub: Any, pb: Any, bearer: Callable[..., Any]) -> None:
    refusal = refused(lambda: stub.Echo(pb.EchoRequest(fail="bug"), metadata=[*bearer(), ("x-request-id", 'a" b')]))

    assert len(refusal.the(error_details_pb2.RequestInfo).request_id) == 36
