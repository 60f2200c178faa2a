"""How peers are asked: once by requests, patiently by jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from servers.runtime.peer_calls import Check, PeerCalls

_Answer = TypeVar("_Answer")


def asked(calls: PeerCalls, call: Callable[[], _Answer], check: Check | None) -> _Answer:
    """Calls a peer.

    Args:
        calls: Which one.
        call: What is called.
        check: Of a job, which waits for a peer that is away and raises where the job is to end; None where a request asks.

    Raises:
        OperationFailed: What the peer says is wrong.
        Unavailable: It does not answer.
    """
    return calls.answered(call) if check is None else calls.patiently(call, check)
