"""Calls to another server of the mesh by a component: what its answers and its silence mean, and how long a job waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import DomainError, Unavailable

Check = Callable[[], None]
"""Raises where whoever waits does not want to any more."""

_LOGGER = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_CHECK_S = 0.1
_PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_REPEATED = frozenset({"REQUEST_RUNNING", "TOO_MANY_INGESTIONS", "TOO_MANY_UPLOADS"})
_REFUSED = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})


@dataclass(frozen=True)
class PeerCalls:
    """How a component calls another one, as the mesh's own account.

    Args:
        peer: Name of the other component.
        caller: Name of this one.
        unavailable: The error of the peer that does not answer, or does not let this one in.
        patience_s: How long to wait for a server that does not answer, where a job does, in seconds.
    """

    peer: str
    caller: str
    unavailable: type[Unavailable]
    patience_s: float

    def answered(self, call: Callable[[], _Answer]) -> _Answer:
        """Calls once.

        Raises:
            OperationFailed: What the peer says is wrong.
            Unavailable: It does not answer.
        """
        try:
            return call()
        except grpc.RpcError as error:
            raise self._error_of(error) from error

    def patiently(self, call: Callable[[], _Answer], check: Check) -> _Answer:
        """Asks as often as it takes, without holding up whoever wants the job to end."""
        deadline, pause_s = time.monotonic() + self.patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return beside(lambda: self.answered(call), check)
            except DomainError as error:
                if not _may_be_repeated(error) or time.monotonic() >= deadline:
                    raise
            wait(pause_s, check)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _error_of(self, error: grpc.RpcError) -> DomainError:
        code, status = error.code(), rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
        if code in _REFUSED:
            # A refusal of our own credentials would mislead the caller about hers.
            _LOGGER.error("the %s server refuses the mesh's own account: %s", self.peer, error.details())
            return self.unavailable(f"the {self.peer} server does not let the {self.caller} server in; its log says why")
        if status is not None and any(detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for detail in status.details):
            return error_of_status(status)
        return self.unavailable(f"the {self.peer} server does not answer ({code.name}); repeat the call", retry_after_s=1)


def is_passing(error: DomainError) -> bool:
    """Whether a peer did not answer, and may later."""
    return error.code in _PASSING


def error_of_status(status: status_pb2.Status, **metadata: str) -> DomainError:
    """Returns an error that a peer describes.

    Args:
        status: With an `ErrorInfo`.
        metadata: Facts to add.
    """
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(retry)
    retry_after_s = retry.retry_delay.ToTimedelta().total_seconds() or None
    name = next((code.name for code in grpc.StatusCode if code.value[0] == status.code), "INTERNAL")
    known = {**info.metadata, **metadata}
    return OperationFailed(name, info.reason or "UNKNOWN", status.message, metadata=known, retry_after_s=retry_after_s)


def beside(call: Callable[[], _Answer], check: Check) -> _Answer:
    """Calls a function in a thread of its own, and goes on without it when a check raises."""
    done, results, errors = threading.Event(), [], []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="peer-call", daemon=True).start()
    while not done.wait(_CHECK_S):
        check()
    if errors:
        raise errors[0]
    return results[0]


def wait(pause_s: float, check: Check) -> None:
    """Waits, unless a check raises."""
    end = time.monotonic() + pause_s
    while (left_s := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left_s, _CHECK_S))
    check()


def _may_be_repeated(error: DomainError) -> bool:
    return is_passing(error) or error.reason in _REPEATED
