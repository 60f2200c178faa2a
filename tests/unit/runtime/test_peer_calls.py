"""What answers of other servers of the mesh become, and which of them a job waits out."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import Unavailable
from servers.runtime.peer_calls import PeerCalls, error_of_status


class PeerAway(Unavailable):
    """Of this test."""

    reason = "PEER_AWAY"


CALLS = PeerCalls("ingestion", "features", PeerAway, patience_s=30)


def refusal(reason: str, code: grpc.StatusCode, retry_after_s: int = 0) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message="no")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, metadata={"project": "p"}))
    if retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromSeconds(retry_after_s)
        status.details.add().Pack(retry)
    return status


def test_an_error_of_a_peer_keeps_its_facts() -> None:
    error = error_of_status(refusal("TOO_MANY_INGESTIONS", grpc.StatusCode.RESOURCE_EXHAUSTED, 5), step="out")
    assert (error.code, error.reason, error.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_INGESTIONS", "no")
    assert (dict(error.metadata), error.retry_after_s) == ({"project": "p", "step": "out"}, 5.0)
    assert error_of_status(refusal("NO", grpc.StatusCode.NOT_FOUND)).retry_after_s is None


@pytest.mark.parametrize(
    ("reason", "code", "is_waited_out"),
    [
        ("TOO_MANY_INGESTIONS", grpc.StatusCode.RESOURCE_EXHAUSTED, True),
        ("REQUEST_RUNNING", grpc.StatusCode.ABORTED, True),
        ("ANY", grpc.StatusCode.UNAVAILABLE, True),
        ("DATASET_NOT_FOUND", grpc.StatusCode.NOT_FOUND, False),
    ],
)
def test_a_job_waits_for_what_passes(reason: str, code: grpc.StatusCode, is_waited_out: bool) -> None:
    answers: list[Any] = [error_of_status(refusal(reason, code)), "done"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    if is_waited_out:
        assert CALLS.patiently(call, lambda: None) == "done"
    else:
        with pytest.raises(OperationFailed, match="no"):
            CALLS.patiently(call, lambda: None)


def test_whoever_does_not_want_to_wait_any_more_is_let_go() -> None:
    class Enough(Exception):
        pass

    def check() -> None:
        raise Enough

    answered = threading.Event()
    with pytest.raises(Enough):
        CALLS.patiently(answered.wait, check)
    answered.set()
