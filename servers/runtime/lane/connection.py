"""A connection from Envoy: HTTP/1.1 by httptools, one request at a time."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, cast

import httptools

from servers.runtime.lane.context import LaneContext
from servers.runtime.lane.exchange import Exchange
from servers.runtime.lane.rest_codec import RestRequest
from servers.runtime.lane.wires import plain_http

if TYPE_CHECKING:
    from servers.runtime.lane.listener import Lane

_LOGGER = logging.getLogger(__name__)
_MAX_HEAD_BYTES = 64 * 1024
_MAX_HEADERS = 128
_LINGER_S = 5.0
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


class Connection(asyncio.BufferedProtocol):
    """Reads requests and writes answers. Everything here runs on the loop's thread.

    Args:
        lane: What is served.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._is_complete = True
        self._is_last = False
        self._lingering: asyncio.TimerHandle | None = None
        self._reset()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was opened."""
        self._transport = cast(asyncio.Transport, transport)
        self._lane.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        del exc
        self._lane.connections.discard(self)
        if self._exchange is not None:
            self._exchange.lost()
            self._exchange = None
        self._lane.lost(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """One buffer serves all connections of the loop, since what is read is taken out of it before the next read."""
        del sizehint
        return self._lane.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        self._has_progress = False
        try:
            self._parser.feed_data(self._lane.buffer[:nbytes])
        except httptools.HttpParserCallbackError:
            _LOGGER.exception("a request could not be taken")
            self._transport.abort()
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up(400, "The request is not HTTP/1.1.")
            return
        if self._has_progress:
            self._idle_bytes = 0
            return
        # Heads, trailers and the sizes of chunks have no end of their own, and the parser keeps what it has of a header.
        self._idle_bytes += nbytes
        if self._idle_bytes > _MAX_HEAD_BYTES:
            self._give_up(431, "The request's head is too large.")

    def eof_received(self) -> bool:
        """The peer sends nothing more; nobody who does so waits for an answer."""
        if self._exchange is not None:
            # To close would wait until the peer has read what was written, and whoever writes would wait with it.
            self._transport.abort()
        return False

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        if self._exchange is not None:
            self._exchange.set_writable(False)

    def resume_writing(self) -> None:
        """The peer has read."""
        if self._exchange is not None:
            self._exchange.set_writable(True)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._exchange is not None or not self._is_complete:
            # Envoy never sends the next before the answer to the last.
            raise ValueError("a request before the answer to the last")
        self._reset()
        self._is_complete = False

    def on_url(self, url: bytes) -> None:
        """The target, or a part of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if not self._is_reading_head:
            return  # trailers say nothing to us
        self._headers[name.lower()] = value
        if len(self._headers) > _MAX_HEADERS:
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._is_reading_head = False
        self._has_progress = True
        headers = self._headers
        path, _, query = self._url.decode("latin-1").partition("?")
        content_type = headers.get(b"content-type", b"")
        rest = None
        if content_type.startswith(b"application/grpc"):
            endpoint = self._lane.endpoints.grpc(path) if self._parser.get_method() == b"POST" else None
            if endpoint is None:
                self._lane.unknown_method(self)
                return
        else:
            verb = self._parser.get_method().decode()
            found = self._lane.endpoints.rest(verb, path)
            if found is None:
                self._lane.plain(self, verb, path)
                return
            endpoint, variables = found
            rest = RestRequest(variables, query, content_type.decode("latin-1"))
        timeout = headers.get(b"grpc-timeout")
        context = LaneContext(headers, None if timeout is None else _deadline(timeout))
        self._exchange = Exchange(self._lane, self, endpoint, context, headers.get(b"grpc-encoding", b"").decode("latin-1"), rest)
        if timeout is not None:
            self._lane.expires(self._exchange)

    def on_body(self, body: bytes) -> None:
        """Bytes of the body."""
        self._has_progress = True
        if self._exchange is not None:
            self._exchange.data(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._is_complete = True
        self._has_progress = True
        if self._exchange is not None:
            self._exchange.complete()
        elif self._lingering is not None and not self._is_last:
            # It was under way already when the answer was written, so Envoy knows of nothing amiss and sends the next request.
            self._lingering.cancel()
            self._lingering = None

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        """Sends bytes."""
        self._transport.write(data)

    def answered(self, *, closes: bool) -> None:
        """The answer is complete; the next request may come, unless this one is still coming or the answer said that it was the last."""
        self._exchange = None
        self._is_last = closes
        # Whoever held the request back may not have taken all of it.
        self.resume_reading()
        if not self._is_complete:
            # Envoy closes a connection whose answer is complete before the request. To close it here first would reset it, answer and all.
            self._lingering = self._lane.loop.call_later(_LINGER_S, self._transport.close)
        elif closes:
            self._transport.close()

    def break_off(self) -> None:
        """The answer cannot be completed."""
        self._exchange = None
        self._transport.abort()

    def pause_reading(self) -> None:
        """Holds the sender back."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Lets the sender go on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # What the lane calls.

    def close_if_idle(self) -> None:
        """Closes a connection on which nothing is under way."""
        if self._exchange is None and self._is_complete:
            self._transport.close()

    def close(self) -> None:
        """Closes it once what was written has been sent; an answer that is not complete is broken off."""
        if self._exchange is not None:
            self._transport.abort()
        else:
            self._transport.close()

    def _give_up(self, status: int, text: str) -> None:
        if self._exchange is not None:
            self._transport.abort()
            return
        self._transport.write(plain_http(status, text, closes=True))
        self._transport.close()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._idle_bytes = 0
        self._is_reading_head = True


def _deadline(text: bytes) -> float | None:
    found = _TIMEOUT.fullmatch(text)
    return None if found is None else time.monotonic() + int(found[1]) * _UNIT_S[found[2]]
