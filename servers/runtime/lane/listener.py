"""Listens for Envoy, and ends without losing an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from servers.runtime.lane.connection import Connection
from servers.runtime.lane.endpoints import Endpoints
from servers.runtime.lane.exchange import Exchange
from servers.runtime.lane.loop import LoopThread
from servers.runtime.lane.paths import READY_PATH
from servers.runtime.lane.wires import plain_http
from servers.runtime.listening import SOCKET_MODE, ListenError, check_socket_path

_BUFFER_BYTES = 256 * 1024
_BACKLOG = 1024
_SWEEP_S = 0.05
# At the end: for calls on their way, for answers that are being made, and for answers that are being read.
_LAST_CALLS_S = 0.05
_LAST_ANSWERS_S = 0.5
_CLOSE_TIMEOUT_S = 5.0
_LOGGER = logging.getLogger(__name__)
_UNKNOWN_METHOD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"
    b"0\r\ngrpc-status: 12\r\ngrpc-message: There is no such method here.\r\n\r\n"
)


class Lane:
    """Serves endpoints on a Unix socket, or on a port of the loopback interface.

    Args:
        address: `unix:/absolute/path.sock` or `127.0.0.1:port`.
        thread: The event loop.
        pool: Runs the methods that are no coroutines.
        endpoints: What is served.
        max_message_bytes: Longest request message, in bytes.
        is_ready: Whether the server is ready.
    """

    def __init__(
        self,
        address: str,
        thread: LoopThread,
        pool: Executor,
        endpoints: Endpoints,
        *,
        max_message_bytes: int,
        is_ready: Callable[[], bool],
    ) -> None:
        self.loop = thread.loop
        self.endpoints = endpoints
        self.max_message_bytes = max_message_bytes
        self.connections: set[Connection] = set()
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.is_closing = False
        self._address = address
        self._thread = thread
        self._pool = pool
        self._is_ready = is_ready
        self._server: asyncio.AbstractServer | None = None
        self._expiring: set[Exchange] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._all_lost: asyncio.Event | None = None

    def start(self) -> None:
        """Begins to listen.

        Raises:
            ListenError: The address cannot be listened on.
        """
        listening = _bound(self._address)
        self._thread.start()
        self._thread.submit(self._listen(listening)).result()

    def announce_stop(self) -> None:
        """Serves on, and says with each answer that the connection ends, so that Envoy goes elsewhere."""
        self.loop.call_soon_threadsafe(self._begin_closing)

    def close(self) -> None:
        """Takes no more connections, answers what has arrived, and closes the connections once what was written has been sent.

        Safe to call twice.
        """
        server, self._server = self._server, None
        if server is not None:
            self._thread.submit(self._close(server)).result()

    # What connections and exchanges call, on the loop's thread.

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Runs something in a thread of the pool."""
        self._pool.submit(function, *arguments)

    def lost(self, connection: Connection) -> None:
        """A connection is closed."""
        del connection
        if self._all_lost is not None and not self.connections:
            self._all_lost.set()

    def expires(self, exchange: Exchange) -> None:
        """Watches the deadline of a call."""
        self._expiring.add(exchange)
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP_S, self._expire)

    def ended(self, exchange: Exchange) -> None:
        """A call is over."""
        self._expiring.discard(exchange)

    def unknown_method(self, connection: Connection) -> None:
        """Answers a gRPC call of a method that is not served here."""
        connection.write(_UNKNOWN_METHOD)

    def plain(self, connection: Connection, verb: str, path: str) -> None:
        """Answers what is no call."""
        if verb == "GET" and path == READY_PATH:
            is_ready = self._is_ready()
            connection.write(plain_http(200 if is_ready else 503, "ready" if is_ready else "not ready", closes=self.is_closing))
        else:
            connection.write(plain_http(404, "There is no such path here.", closes=self.is_closing))

    async def _listen(self, listening: socket.socket) -> None:
        create = self.loop.create_unix_server if listening.family == socket.AF_UNIX else self.loop.create_server
        self._server = await create(lambda: Connection(self), sock=listening, backlog=_BACKLOG)

    def _begin_closing(self) -> None:
        self.is_closing = True

    async def _close(self, server: asyncio.AbstractServer) -> None:
        self.is_closing = True
        # HTTP/1.1 has no GOAWAY: a connection that is cut while a call is on its way to it fails that call, unless it may be repeated. So
        # nobody gets a new one, what has arrived is answered (refused, by now), and each answer ends its connection.
        if self._address.startswith("unix:"):
            Path(self._address.removeprefix("unix:")).unlink(missing_ok=True)
        await asyncio.sleep(_LAST_CALLS_S)
        server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        await self._emptied(_LAST_ANSWERS_S)
        for connection in list(self.connections):
            connection.close()
        if not await self._emptied(_CLOSE_TIMEOUT_S):
            _LOGGER.warning("%d connections do not take what was written for them", len(self.connections))

    async def _emptied(self, timeout_s: float) -> bool:
        if self.connections:
            self._all_lost = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_lost.wait(), timeout_s)
        return not self.connections

    def _expire(self) -> None:
        self._sweep = None
        for exchange in list(self._expiring):
            exchange.expire()
        if self._expiring:
            self._sweep = self.loop.call_later(_SWEEP_S, self._expire)


def _bound(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        check_socket_path(path)
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(SOCKET_MODE)
        return listening
    host, _, port = address.rpartition(":")
    if host != "127.0.0.1" or not port.isdecimal():
        raise ListenError(f"cannot listen on {address!r}: a lane is plain text, so it is a Unix socket (unix:/path) or 127.0.0.1:port")
    listening = socket.socket(socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on {address!r}: {os.strerror(error.errno or 0)}") from None
    return listening
