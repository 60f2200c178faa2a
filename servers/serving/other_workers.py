"""The other workers of serving, as the first one asks them: over their gRPC sockets, by the contract that callers use."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from mlops.serving.v1 import serving_service_pb2_grpc

from servers.runtime.admission import REFUSED
from servers.runtime.errors import DomainError, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from servers.runtime.statuses import PeerTimeout

SERVING_SERVICE = "mlops.serving.v1.ModelServingService"
FIRST_WORKER = 1

_LOGGER = logging.getLogger(__name__)
_HEALTH_TIMEOUT_S = 2.0  # as long as the gateway waits: a Python server that loads a model may hold its interpreter for a second
_KINDS: Mapping[grpc.StatusCode, type[DomainError]] = {
    kind.code: kind for kind in (FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable)
}

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Answers(Generic[AnswerT]):
    """What workers answered. Those that are away are in neither.

    Args:
        given: Answers by number of the worker.
        refused: Errors likewise.
    """

    given: Mapping[int, AnswerT]
    refused: Mapping[int, DomainError]


class OtherWorker:
    """One worker.

    Args:
        number: Its number, 2 or more.
        channel: To its gRPC socket, with the credentials of the mesh's service account.
    """

    def __init__(self, number: int, channel: grpc.Channel) -> None:
        self.number = number
        self.stub = serving_service_pb2_grpc.ModelServingServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    def why_away(self) -> str:
        """Why it is not to be asked now; empty where it serves. One that hangs is found out here, and not by the call that takes long."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=SERVING_SERVICE), timeout=_HEALTH_TIMEOUT_S)
        except grpc.RpcError as error:
            return f"it does not answer ({error.code().name})"
        return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else "it is not ready, or stops"


class OtherWorkers:
    """All workers but the first.

    Args:
        workers: They.
    """

    def __init__(self, workers: Sequence[OtherWorker]) -> None:
        self._workers = tuple(workers)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._workers)

    def ask_beside(self, own: Callable[[], AnswerT], other: Callable[[OtherWorker], AnswerT]) -> Answers[AnswerT]:
        """Has every worker do something at the same time, this one among them.

        A worker that is away is passed over: what is used of it once it is back, it loads then.

        Args:
            own: Does it here.
            other: Has another worker do it, within a deadline.

        Returns:
            What each said.

        Raises:
            Exception: What `own` raises beside domain errors, and errors of other workers that are nobody's refusal.
        """
        given: dict[int, AnswerT] = {}
        refused: dict[int, DomainError] = {}
        with ThreadPoolExecutor(self.count, thread_name_prefix="ask-worker") as threads:
            # Each in a context of its own: it names the trace that the call belongs to.
            asked = {worker.number: threads.submit(contextvars.copy_context().run, _answer_of, worker, other) for worker in self._workers}
            try:
                given[FIRST_WORKER] = own()
            except DomainError as error:
                refused[FIRST_WORKER] = error
        for number, asking in asked.items():
            answer = asking.result()
            if isinstance(answer, DomainError):
                refused[number] = answer
            elif answer is not None:
                given[number] = answer
        return Answers(given, refused)


def _answer_of(worker: OtherWorker, ask: Callable[[OtherWorker], AnswerT]) -> AnswerT | DomainError | None:
    """What a worker says; None where it is away."""
    try:
        why_away = worker.why_away()
        if not why_away:
            return ask(worker)
    except grpc.RpcError as error:
        if not _is_away(error):
            return _refusal(error, worker.number)
        why_away = error.details() or "it went away meanwhile"
    except DomainError as error:  # the token of the service account cannot be had
        return error
    _LOGGER.warning("worker %d is passed over: %s", worker.number, why_away)
    return None


def _is_away(error: grpc.RpcError) -> bool:
    """Whether nobody was there, or somebody who stops; what a worker refuses has a reason."""
    if error.code() is not grpc.StatusCode.UNAVAILABLE or not isinstance(error, grpc.Call):
        return False
    return rpc_status.from_call(error) is None or any(key == REFUSED for key, _ in error.trailing_metadata() or ())


def _refusal(error: grpc.RpcError, worker: int) -> DomainError:
    """The error of a worker, as if it had been raised here.

    Raises:
        grpc.RpcError: If it is nobody's refusal.
    """
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PeerTimeout(f"worker {worker} of serving did not answer in time; it may go on, so repeat the call")
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    if code not in _KINDS or status is None:
        raise error
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad, failed, resource = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure(), error_details_pb2.ResourceInfo()
    for detail in status.details:
        for message in (info, retry, bad, failed, resource):
            detail.Unpack(message)
    return _KINDS[code](
        status.message,
        reason=info.reason or None,
        metadata=info.metadata,
        field_violations=[(one.field, one.description) for one in bad.field_violations],
        preconditions=[(one.type, one.subject, one.description) for one in failed.violations],
        resource=(resource.resource_type, resource.resource_name) if resource.resource_type else None,
        retry_after_s=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )
