"""Server streams: how they end, and when they should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from mlops.common.v1.stream_pb2 import StreamEnd

from servers.runtime.calls import current_call
from servers.runtime.statuses import status_of

ResponseT = TypeVar("ResponseT", bound=Message)


def with_end(items: Iterable[ResponseT], response_class: type[ResponseT]) -> Iterator[ResponseT]:
    """Adds the last message of a stream, which says how it ended (contracts, point 9).

    A failure before the first item is an ordinary error. After it, the HTTP status line is out, so the error goes into the `end` message;
    gRPC callers get it as the call's status besides.

    Args:
        items: The responses.
        response_class: Their class, with a field `end` of type `mlops.common.v1.StreamEnd`.

    Yields:
        The items, then one message with `end`.
    """
    sent = 0
    try:
        for item in items:
            yield item
            sent += 1
    except Exception as error:
        if sent:
            yield _end(response_class, status_of(error, current_call().request_id))
        raise
    yield _end(response_class, status_pb2.Status(code=code_pb2.OK))


def should_end() -> bool:
    """Whether an endless stream should end now: its caller has left, or the server is stopping. To be asked between items."""
    call = current_call()
    return call.stopping.is_set() or not call.context.is_active()


def wait_unless_ending(timeout_s: float) -> bool:
    """Waits between two looks for news; shorter where the server begins to stop.

    Args:
        timeout_s: Longest time to wait, in seconds.

    Returns:
        Whether the stream should go on.
    """
    call = current_call()
    return not call.stopping.wait(timeout_s) and call.context.is_active()


def _end(response_class: type[ResponseT], status: Any) -> ResponseT:
    return response_class(end=StreamEnd(status=status))
