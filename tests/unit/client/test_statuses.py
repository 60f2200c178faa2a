from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from mlmesh import errors
from mlmesh.errors import ERRORS_BY_CODE, FieldViolation
from mlmesh.statuses import error_of_call, error_of_status


def status(code: int, message: str, *details: Message) -> status_pb2.Status:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(code=code, message=message, details=packed)


class FailedCall(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str, trailing: tuple[tuple[str, str | bytes], ...] = ()) -> None:
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._trailing


def test_every_status_code_has_a_class_of_its_own() -> None:
    codes = {code.name for code in grpc.StatusCode} - {"OK"}
    assert set(ERRORS_BY_CODE) == codes
    assert len(set(ERRORS_BY_CODE.values())) == len(codes)
    assert all(kind.code == name for name, kind in ERRORS_BY_CODE.items())


def test_a_rich_status_gives_reason_fields_facts_and_request() -> None:
    rich = status(
        code_pb2.INVALID_ARGUMENT,
        "two fields are wrong",
        error_details_pb2.ErrorInfo(reason="FIELDS_WRONG", domain="mlmesh", metadata={"limit": "5"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="model.name", description="is empty"),
                error_details_pb2.BadRequest.FieldViolation(field="model.tags", description="too many"),
            ]
        ),
        error_details_pb2.RequestInfo(request_id="r-1"),
    )
    error = error_of_call(FailedCall(grpc.StatusCode.INVALID_ARGUMENT, "plain", (("grpc-status-details-bin", rich.SerializeToString()),)))
    assert type(error) is errors.InvalidArgument
    assert (error.message, error.reason, error.metadata, error.request_id) == (
        "two fields are wrong",
        "FIELDS_WRONG",
        {"limit": "5"},
        "r-1",
    )
    assert error.field_violations == (FieldViolation("model.name", "is empty"), FieldViolation("model.tags", "too many"))
    assert "model.name: is empty" in str(error)
    assert "[FIELDS_WRONG]" in str(error)


def test_a_status_without_details_gives_its_message_and_the_request_id_of_the_gateway() -> None:
    error = error_of_call(FailedCall(grpc.StatusCode.UNAVAILABLE, "no upstream", (("x-request-id", "r-2"),)))
    assert type(error) is errors.Unavailable
    assert (error.message, error.reason, error.request_id) == ("no upstream", "", "r-2")
    assert "mlmesh status" in error.hint


def test_a_retry_delay_and_help_are_read() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    help_ = error_details_pb2.Help(links=[error_details_pb2.Help.Link(description="ask for more", url="https://x.test/quota")])
    error = error_of_status(status(code_pb2.RESOURCE_EXHAUSTED, "too fast", retry, help_))
    assert isinstance(error, errors.ResourceExhausted)
    assert error.retry_after_s == 1.5
    assert error.hint == "ask for more https://x.test/quota"


def test_a_precondition_that_the_message_does_not_state_is_the_hint() -> None:
    violation = error_details_pb2.PreconditionFailure.Violation(type="STATE", subject="toy/1", description="finalize it first")
    error = error_of_status(
        status(code_pb2.FAILED_PRECONDITION, "toy/1 is PENDING", error_details_pb2.PreconditionFailure(violations=[violation]))
    )
    assert error.hint == "finalize it first"


def test_an_unknown_code_is_an_unknown_error() -> None:
    assert type(error_of_status(status_pb2.Status(code=99, message="new"))) is errors.Unknown


def test_something_that_is_no_call_is_an_unknown_error() -> None:
    assert error_of_call(grpc.RpcError("odd")).message == "odd"


@given(st.binary(max_size=200))
def test_details_that_cannot_be_read_never_hide_the_status(noise: bytes) -> None:
    error = error_of_call(FailedCall(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", noise),)))
    assert isinstance(error, errors.MeshError)


@pytest.mark.parametrize("kind", sorted(set(ERRORS_BY_CODE.values()), key=lambda kind: kind.code))
def test_every_error_is_a_mesh_error_and_prints_its_message(kind: type[errors.MeshError]) -> None:
    assert str(kind("what happened", reason="WHY")).startswith("what happened [WHY]")
