"""One request and its answer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from servers.runtime.errors import DomainError
from servers.runtime.lane.context import Aborted, LaneContext
from servers.runtime.lane.endpoints import Endpoint
from servers.runtime.lane.frames import FrameReader, MalformedFrame, MessageTooLarge
from servers.runtime.lane.request_stream import CallerLeft, RequestStream
from servers.runtime.lane.rest_codec import RestRequest

if TYPE_CHECKING:
    from servers.runtime.lane.listener import Lane

_LOGGER = logging.getLogger(__name__)
# Bytes of a streamed answer that may wait for the loop; then the serving thread waits.
_MOST_UNWRITTEN_BYTES = 1024 * 1024
# What a message costs beside its bytes, so that empty ones do not pile up.
_MESSAGE_BYTES = 64


class Outlet(Protocol):
    """Where an exchange writes: its connection, seen from the loop's thread."""

    def write(self, data: bytes) -> None:
        """Sends bytes."""

    def answered(self, *, closes: bool) -> None:
        """The answer is complete, and said whether the connection ends with it."""

    def break_off(self) -> None:
        """The answer cannot be completed."""

    def pause_reading(self) -> None:
        """Holds the sender back."""

    def resume_reading(self) -> None:
        """Lets the sender go on."""


class Exchange:
    """One call on a connection. Lives on the loop's thread; only `_Sending` and `RequestStream` are shared with the thread that serves.

    Args:
        lane: The lane.
        outlet: The connection.
        endpoint: What is called.
        context: What the servicer sees.
        encoding: The request's `grpc-encoding`.
        rest: The REST request; None for gRPC.
    """

    def __init__(
        self, lane: Lane, outlet: Outlet, endpoint: Endpoint, context: LaneContext, encoding: str, rest: RestRequest | None
    ) -> None:
        self._lane = lane
        self._outlet = outlet
        self._endpoint = endpoint
        self._context = context
        self._rest = rest
        self._frames = FrameReader(lane.max_message_bytes, encoding) if rest is None else None
        self._body: list[Any] = []
        self._size = 0
        self._stream: RequestStream | None = None
        self._sending: _Sending | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_started = False
        self._is_refused = False
        self._has_begun = False
        self._closes = False
        self._is_answered = False
        if endpoint.method.request_streaming:
            self._stream = RequestStream(
                outlet.pause_reading, lambda: lane.loop.call_soon_threadsafe(self._resume_reading), is_raw=rest is not None
            )
            self._start(self._stream)

    def data(self, data: bytes) -> None:
        """Takes bytes of the body."""
        if self._is_refused or (self._is_started and self._stream is None):
            return  # the rest is of no interest
        try:
            if self._frames is not None:
                self._read(self._frames, data)
            elif self._stream is not None:
                self._stream.put([data])
            else:
                self._size += len(data)
                if self._size > self._lane.max_message_bytes:
                    raise MessageTooLarge(self._lane.max_message_bytes)
                self._body.append(data)
        except DomainError as error:
            self._refuse(error)

    def complete(self) -> None:
        """Says that the body is complete."""
        try:
            if self._frames is not None and not self._is_refused:
                self._frames.end()
        except DomainError as error:
            self._refuse(error)
        if self._stream is not None:
            self._stream.end()
        elif not self._is_started:
            if self._rest is None and not self._body:
                self._refuse(MalformedFrame("This method takes one message, and none came."))
            else:
                self._start(self._body[0] if len(self._body) == 1 else b"".join(self._body))

    def lost(self) -> None:
        """The caller has left: what runs for it is told, and its answer goes nowhere."""
        if self._is_answered:
            return
        self._is_answered = True
        self._release()

    def expire(self) -> None:
        """Ends the call if its deadline is over."""
        if not self._context.is_active():
            self._context.failure = _DEADLINE
            self._fail()

    def _resume_reading(self) -> None:
        # What is left of an answered call may be read after the connection has gone on to the next, which holds back for itself.
        if not self._is_answered:
            self._outlet.resume_reading()

    def _read(self, frames: FrameReader, data: bytes) -> None:
        if self._stream is None:
            frames.feed(data, self._body)
            if len(self._body) > 1:
                # At once, since whoever sends more than one may never end.
                raise MalformedFrame("This method takes one message, and more came.")
            return
        messages: list[Any] = []
        try:
            frames.feed(data, messages)
        finally:
            # Also where the next one is malformed: what a servicer sees does not depend on how the network cut it.
            self._stream.put(messages)

    def _refuse(self, error: DomainError) -> None:
        self._is_refused = True
        if self._stream is not None:
            self._stream.end(error)
        elif not self._is_started:
            self._start(error)

    def _start(self, body: Any) -> None:
        self._is_started = True
        request = body
        if self._rest is not None:
            self._rest.body = body
            request = self._rest
        self._body = []
        if self._endpoint.method.is_coroutine:
            self._task = self._lane.loop.create_task(self._run_coroutine(request), context=contextvars.Context())
        elif self._endpoint.method.response_streaming:
            self._sending = _Sending(self._lane.loop, self._write_message)
            self._lane.submit(contextvars.Context().run, self._run_stream, request, self._sending)
        else:
            self._lane.submit(contextvars.Context().run, self._run_unary, request)

    async def _run_coroutine(self, request: Any) -> None:
        try:
            answer = await self._endpoint.serve(request, self._context)
        except Aborted:
            self._fail()
        except asyncio.CancelledError:
            # The caller has left, or was told already; unless it is something within the call that was cancelled.
            self._unforeseen()
        except BaseException:
            self._unforeseen()
            raise
        else:
            self._answer(answer)

    def _run_unary(self, request: Any) -> None:
        """In a thread of the pool."""
        try:
            answer = self._endpoint.serve(request, self._context)
        except Aborted:
            self._lane.loop.call_soon_threadsafe(self._fail)
        except BaseException:
            self._lane.loop.call_soon_threadsafe(self._unforeseen)
            raise
        else:
            self._lane.loop.call_soon_threadsafe(self._answer, answer)

    def _run_stream(self, request: Any, sending: _Sending) -> None:
        """In a thread of the pool."""
        answers: Iterator[Any] = self._endpoint.serve(request, self._context)
        try:
            for answer in answers:
                if not sending.send(answer):
                    return
        except Aborted:
            self._lane.loop.call_soon_threadsafe(self._fail)
        except BaseException:
            self._lane.loop.call_soon_threadsafe(self._unforeseen)
            raise
        else:
            self._lane.loop.call_soon_threadsafe(self._finish_stream)
        finally:
            # Tells the interceptors that wrap the iteration, also where the caller left half-way.
            answers.close()  # type: ignore[attr-defined]

    def _answer(self, answer: Any) -> None:
        if self._is_answered:
            return
        context = self._context
        try:
            data = self._endpoint.wire.whole(context.initial_metadata, answer, context.trailers, closes=self._announced_close())
        except ValueError:
            self._unwritable()
            return
        self._outlet.write(data)
        self._end()

    def _write_message(self, answer: Any) -> None:
        if self._is_answered:
            return
        try:
            data = self._head(answer) + self._endpoint.wire.message(answer)
        except ValueError:
            self._unwritable()
            return
        self._has_begun = True
        self._outlet.write(data)

    def _finish_stream(self) -> None:
        if self._is_answered:
            return
        try:
            data = self._head(None) + self._endpoint.wire.end(self._context.trailers)
        except ValueError:
            self._unwritable()
            return
        self._outlet.write(data)
        self._end()

    def _head(self, first: Any) -> bytes:
        if self._has_begun:
            return b""
        return self._endpoint.wire.head(self._context.initial_metadata, first, closes=self._announced_close())

    def _announced_close(self) -> bool:
        """Whether the answer says that the connection ends. Kept, since a peer that was not told must not be cut off."""
        self._closes = self._lane.is_closing
        return self._closes

    def _fail(self) -> None:
        if self._is_answered:
            return
        try:
            data = self._failure(self._context.failure or _INTERNAL)
        except ValueError:
            _LOGGER.exception("%s fails with headers that cannot be written", self._endpoint.method.path)
            data = self._failure(_INTERNAL)
        if data is None:
            self._is_answered = True
            self._release()
            self._outlet.break_off()
            return
        self._outlet.write(data)
        self._end()

    def _failure(self, status: grpc.Status) -> bytes | None:
        wire = self._endpoint.wire
        return wire.late_failure(status) if self._has_begun else wire.failure(status, closes=self._announced_close())

    def _unwritable(self) -> None:
        _LOGGER.exception("%s sends headers that cannot be written", self._endpoint.method.path)
        self._unforeseen()

    def _unforeseen(self) -> None:
        self._context.failure = _INTERNAL
        self._fail()

    def _end(self) -> None:
        self._is_answered = True
        self._release()
        self._outlet.answered(closes=self._closes)

    def _release(self) -> None:
        self._lane.ended(self)
        self._context.end()
        if self._stream is not None:
            self._stream.end(CallerLeft())
        if self._sending is not None:
            self._sending.stop()
        if self._task is not None and not self._task.done() and self._task is not asyncio.current_task(self._lane.loop):
            self._task.cancel()

    def set_writable(self, is_writable: bool) -> None:
        """Says whether the connection takes more."""
        if self._sending is not None:
            self._sending.set_writable(is_writable)


class _Sending:
    """Messages of a streamed answer on their way from the serving thread to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Callable[[Any], None]) -> None:
        self._loop = loop
        self._write = write
        self._changed = threading.Condition()
        self._unwritten_bytes = 0
        self._is_writable = True
        self._is_stopped = False

    def send(self, answer: Any) -> bool:
        """Sends a message. Waits while the caller reads more slowly than the servicer writes.

        Returns:
            Whether the caller is still there.
        """
        size = _MESSAGE_BYTES + (len(answer) if isinstance(answer, bytes) else len(answer.data))
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or (self._is_writable and self._unwritten_bytes < _MOST_UNWRITTEN_BYTES))
            if self._is_stopped:
                return False
            self._unwritten_bytes += size
        self._loop.call_soon_threadsafe(self._written, answer, size)
        return True

    def _written(self, answer: Any, size: int) -> None:
        self._write(answer)
        with self._changed:
            self._unwritten_bytes -= size
            self._changed.notify()

    def set_writable(self, is_writable: bool) -> None:
        with self._changed:
            self._is_writable = is_writable
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify()


class _Status:
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = ()


_INTERNAL: Any = _Status(grpc.StatusCode.INTERNAL, "Internal error.")
_DEADLINE: Any = _Status(grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline of the call is over.")
