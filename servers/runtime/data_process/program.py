"""What a data process does from its first to its last moment; `child.Child` starts it, and nobody else.

It is told its settings and then operations on its standard input, answers them on what was its standard output, and ends as soon as the
server closes the former, whatever it is at. Where the kernel can, it also kills the process together with the server (`orphan_guard`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import orjson

from servers.runtime.data_process.conversation import Advice, Perform, answer_all
from servers.runtime.data_process.memory_errors import is_out_of_memory
from servers.runtime.data_process.messages import MAX_LINE_BYTES, OUT_OF_MEMORY_STATUS

_PROTOCOL_ERROR = 65
"""Exit status after a message that the protocol does not have (sysexits.h: EX_DATAERR)."""

_FAULT = 70
"""Exit status after an error in the conversation itself (sysexits.h: EX_SOFTWARE)."""

_MEMORY_SCORE = b"500"
"""Where memory runs out, the kernel is to take this process rather than the server (proc(5), oom_score_adj)."""


def run(performer_of: Callable[[Mapping[str, Any]], Perform], advice: Advice) -> int:
    """Does operations until the server closes standard input.

    Args:
        performer_of: Gives what does operations, from the settings of the process.
        advice: For whoever reads errors.

    Returns:
        The exit status.
    """
    # Whoever stops the server often signals its whole group or control group; how long this process is needed is for the server to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    _volunteer_when_memory_runs_out()
    incoming, outgoing = _private_streams()
    try:
        settings = _message(incoming.readline(MAX_LINE_BYTES + 1))
        if settings["memory_bytes"]:
            resource.setrlimit(resource.RLIMIT_DATA, (settings["memory_bytes"], settings["memory_bytes"]))
        answer_all(_requests(incoming), _sender(outgoing), performer_of(settings), advice)
    except BaseException as error:
        return _status(error)
    return 0


def _status(error: BaseException) -> int:
    if is_out_of_memory(error):
        return OUT_OF_MEMORY_STATUS
    traceback.print_exception(error, file=sys.stderr)
    return _FAULT


def _private_streams() -> tuple[IO[bytes], int]:
    """Takes standard input and output away, so that nothing else reads from the one, or prints to the other."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def _message(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        # The server has gone, and nobody is left to hear of the operation that may be under way.
        os._exit(0 if len(line) <= MAX_LINE_BYTES else _PROTOCOL_ERROR)
    message: dict[str, Any] = orjson.loads(line)
    return message


def _requests(incoming: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """Gives the requests. They are read in a thread, which notices the end of the server during an operation, too."""
    received: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                received.put(_message(incoming.readline(MAX_LINE_BYTES + 1)))
        except BaseException as error:
            os._exit(_status(error))

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield received.get()


def _sender(outgoing: int) -> Callable[[bytes], None]:
    def send(line: bytes) -> None:
        unsent = memoryview(line)
        while unsent:
            unsent = unsent[os.write(outgoing, unsent) :]

    return send


def _volunteer_when_memory_runs_out() -> None:
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(file, _MEMORY_SCORE)
        os.close(file)
