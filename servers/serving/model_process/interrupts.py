"""Tells a model's process of runs that nobody waits for any more, past its messages: while the model runs, it reads none of those.

The socket for it is the first thing that comes on the connection of the process. A thread that read messages, and handed runs to another,
would do without; it made a run of a small model 30 µs longer.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from servers.serving.model_process.frames import MalformedFrame

_SIZE_BYTES = 8
"""Of an interrupt, which is the number of a call."""


class InterruptSender:
    """The server's side.

    Args:
        connection: A process, to which nothing was sent yet.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        with theirs:
            socket.send_fds(connection, [b"\0"], [theirs.fileno()])

    def send(self, call: int) -> None:
        """Asks for a run to end early. It is answered all the same; a process that has gone, or does not listen, is no error."""
        with contextlib.suppress(OSError):
            self._ours.send(call.to_bytes(_SIZE_BYTES, "big"))

    def close(self) -> None:
        """Closes the socket."""
        self._ours.close()


class InterruptReceiver:
    """The side of the process: a thread that listens.

    Args:
        connection: The server, of which nothing was received yet.

    Raises:
        EOFError: If it has gone.
        MalformedFrame: If it sent something else.
    """

    def __init__(self, connection: socket.socket) -> None:
        first, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        if not first:
            raise EOFError
        if not descriptors:
            raise MalformedFrame("the first byte has to bring a socket with it")
        self._socket = socket.socket(fileno=descriptors[0])
        self._interrupted = 0
        self._running: tuple[int, Callable[[], None]] = 0, lambda: None

    def listen(self) -> None:
        """Begins to listen, in a thread that ends with the process and has the priority of this one."""
        threading.Thread(target=self._listen, name="interrupts", daemon=True).start()

    def begin(self, call: int, stop: Callable[[], None]) -> None:
        """Has a run stopped, if an interrupt comes or has come already.

        Args:
            call: Its number.
            stop: Stops it; called on any thread, and also when it has ended.
        """
        self._running = call, stop
        if self._interrupted == call:
            stop()

    def _listen(self) -> None:
        while number := self._socket.recv(_SIZE_BYTES):
            self._interrupted = int.from_bytes(number, "big")
            call, stop = self._running
            if call == self._interrupted:
                stop()
