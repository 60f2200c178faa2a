"""The model's end of the socket: one message at a time, and nothing to do in between."""

from __future__ import annotations

import itertools
import socket
from collections import deque
from collections.abc import Sequence

from servers.serving.model_process.frames import Frame, FrameReader, Part
from servers.serving.model_process.messages import Message, message_of, message_parts

_MOST_PARTS = 512
"""Parts a system call; the kernel takes 1,024 (IOV_MAX)."""


class BlockingChannel:
    """Sends and receives messages.

    Args:
        connection: A connected stream socket, in blocking mode.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = FrameReader(max_payload_bytes=0)
        self._frames: deque[Frame] = deque()

    @property
    def max_payload_bytes(self) -> int:
        """Longest payload either way; none at first."""
        return self._reader.max_payload_bytes

    @max_payload_bytes.setter
    def max_payload_bytes(self, size_bytes: int) -> None:
        self._reader.max_payload_bytes = size_bytes

    def receive(self) -> Message | None:
        """Waits for a message.

        Returns:
            The message; None once the other side has closed the connection.

        Raises:
            MalformedFrame: If it sent something else.
            EOFError: If it closed the connection within a message.
            ConnectionError: If the connection broke.
        """
        while not self._frames:
            size_bytes = self._connection.recv_into(self._reader.buffer())
            if size_bytes == 0:
                if self._reader.is_within_frame:
                    raise EOFError
                return None
            self._frames.extend(self._reader.received(size_bytes))
        return message_of(self._frames.popleft())

    def send(self, message: Message) -> None:
        """Sends a message.

        Raises:
            PayloadTooLarge: If its tensors are; nothing is sent then.
            ConnectionError: If the connection broke.
        """
        send_parts(self._connection, message_parts(message, max_payload_bytes=self.max_payload_bytes))


def send_parts(connection: socket.socket, parts: Sequence[Part]) -> None:
    """Sends bytes that lie in several places, without putting them together first."""
    waiting = deque(parts)
    while waiting:
        sent = connection.sendmsg(list(itertools.islice(waiting, _MOST_PARTS)))
        while waiting and sent >= len(waiting[0]):
            sent -= len(waiting.popleft())
        if sent:
            waiting[0] = memoryview(waiting[0])[sent:]
