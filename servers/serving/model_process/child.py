"""One process of a model, as the server sees it: started, spoken to, watched to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import servers.runtime
from servers.serving.model_process.child_exit import ChildExit
from servers.serving.model_process.frames import FrameReader, MalformedFrame, Part
from servers.serving.model_process.interrupts import InterruptSender
from servers.serving.model_process.last_output import LastOutput
from servers.serving.model_process.memory_kills import MemoryKills
from servers.serving.model_process.messages import Message, message_of
from servers.serving.model_process.process_end import ended

PROGRAM = (sys.executable, "-P", "-m", "servers.serving.model_process")
"""The process of a model."""

_GUARD = Path(servers.runtime.__path__[0]) / "orphan_guard.py"
_SOCKET_BYTES = 1 << 20
"""Wished size of the socket's buffers; the kernel gives what it allows."""

_OUTPUT_BYTES = 8192
"""How much is kept of what the process writes."""

_END_S = 5.0
"""How long its end is awaited after that of its connection: on a busy machine a process that was killed takes its time."""

_LAST_WORDS_S = 1.0
"""How long the end of its output is awaited after its own: something else may hold it open."""

_ENVIRONMENT = frozenset(("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV"))
"""Variables that the process inherits. Not all: keys and addresses of the mesh are none of a model's business."""

_SMALLER = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy would start threads for products of matrices; ONNX Runtime has its own."""


class Child:
    """A running process. Made by `start`, on the event loop that everything here is called on.

    Attributes:
        exited: How it ended, once it has; it never fails and must not be cancelled.
        pid: Its process id.
    """

    def __init__(self, process: subprocess.Popen[bytes], connection: _Connection, interrupts: InterruptSender) -> None:
        assert process.stdout is not None  # noqa: S101  # started with a pipe
        self.pid = process.pid
        self._process = process
        self._connection = connection
        self._interrupts = interrupts
        self._stop_reason = ""
        self._output = LastOutput(process.stdout, _OUTPUT_BYTES)
        self._memory_kills = MemoryKills(process.pid)
        self.exited: asyncio.Task[ChildExit] = asyncio.create_task(self._watch())

    @classmethod
    async def start(cls, command: Sequence[str], *, max_payload_bytes: int, on_message: Callable[[Message], None]) -> Child:
        """Starts a process that the kernel kills when the thread of this event loop ends, however that comes about.

        Args:
            command: Program and arguments. Its standard input is the socket.
            max_payload_bytes: Longest payload that is taken from it.
            on_message: Called with each message of it. What it raises as `MalformedFrame` ends the process.

        Raises:
            OSError: If no process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            interrupts = InterruptSender(ours)
            try:
                process = _spawned(command, theirs)
            except OSError:
                ours.close()
                interrupts.close()
                raise
        connection = _Connection(FrameReader(max_payload_bytes), on_message)
        child = cls(process, connection, interrupts)
        connection.on_malformed = lambda error: child.kill(f"it sent what the protocol does not have: {error}")
        ours.setblocking(False)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
        except BaseException:
            ours.close()
            await child.stop(0)
            raise
        return child

    def send(self, parts: Sequence[Part]) -> None:
        """Sends a message. What the process does not take at once is kept by reference, not copied."""
        for part in parts:
            self._connection.write(part)

    def interrupt(self, call: int) -> None:
        """Asks for a run to end early, whose answer comes all the same."""
        self._interrupts.send(call)

    def kill(self, reason: str) -> None:
        """Kills it at once.

        Args:
            reason: Why, as a clause with a verb.
        """
        if not self.exited.done() and not self._stop_reason:
            self._stop_reason = reason
            self._process.kill()

    async def stop(self, grace_s: float) -> ChildExit:
        """Ends it: closes the socket, sends SIGTERM, and after the grace SIGKILL.

        Args:
            grace_s: Seconds in between.

        Returns:
            How it ended. There is no process any more then, nor a zombie.
        """
        self._stop_reason = self._stop_reason or "the model is unloaded"
        self._connection.close()
        if not self.exited.done():
            self._process.terminate()
            await asyncio.wait({self.exited}, timeout=grace_s)
        if not self.exited.done():
            self._process.kill()
        return await asyncio.shield(self.exited)

    async def _watch(self) -> ChildExit:
        end = asyncio.create_task(ended(self._process))
        awaited: list[asyncio.Future[Any]] = [end, self._connection.lost]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not end.done() and not self._stop_reason:
            # Most often it is about to end: the kernel closes the files of a process before it tells how that one ended.
            await asyncio.wait({end}, timeout=_END_S)
            if not end.done():
                self.kill("it closed its connection and ran on")
        return_code = await end
        await asyncio.wait({self._output.ended}, timeout=_LAST_WORDS_S)
        self._output.close()
        self._connection.close()
        self._interrupts.close()
        is_killed = return_code == -signal.SIGKILL and not self._stop_reason
        return ChildExit(
            return_code,
            self._stop_reason,
            is_out_of_memory=is_killed and self._memory_kills.has_grown(),
            last_lines=self._output.text,
        )


def _spawned(command: Sequence[str], standard_input: socket.socket) -> subprocess.Popen[bytes]:
    """Starts the process on this thread, with whose end it ends. Nothing is inherited but what is named here."""
    return subprocess.Popen(
        # -I -S: the guard needs neither site-packages nor the environment's PYTHONPATH, and so starts in a few milliseconds.
        (sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *command),
        stdin=standard_input.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**{name: value for name, value in os.environ.items() if name in _ENVIRONMENT}, **_SMALLER},
    )


class _Connection(asyncio.BufferedProtocol):
    """The server's end of the socket.

    Args:
        reader: Puts frames together.
        on_message: Called with each message.
    """

    def __init__(self, reader: FrameReader, on_message: Callable[[Message], None]) -> None:
        self._reader = reader
        self._on_message = on_message
        self._transport: asyncio.WriteTransport | None = None
        self._is_closed = False
        self.on_malformed: Callable[[MalformedFrame], None] = lambda _: None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, part: Part) -> None:
        """Sends bytes, unless the connection is lost: whoever waits for an answer hears of that when the process has ended."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(part)

    def close(self) -> None:
        """Closes it at once; nothing that comes is read any more."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio names the arguments
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_closed:
            return
        try:
            for frame in self._reader.received(nbytes):
                self._on_message(message_of(frame))
        except MalformedFrame as error:
            self.on_malformed(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None  # uvloop's raises when it is written to from now on
        if not self.lost.done():
            self.lost.set_result(None)
