"""The process of one model: `python -P -m servers.serving.model_process`, started by `child.Child` and by nobody else.

Its standard input is one end of a pair of sockets: no path, no port, nobody else can connect. It loads the one model it is told to, runs
batches one at a time, and ends when the server closes the other end. A thread listens for interrupts. It is small on purpose: no gRPC, no
database, no event loop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING

from servers.serving.model_process.blocking_channel import BlockingChannel
from servers.serving.model_process.frames import MalformedFrame, PayloadTooLarge
from servers.serving.model_process.interrupts import InterruptReceiver
from servers.serving.model_process.loading_priority import at_low_priority
from servers.serving.model_process.messages import Load, Refusal, Run

if TYPE_CHECKING:
    from servers.serving.model_process.model_runner import ModelRunner

PROTOCOL_ERROR = 65
"""Exit status after a message that the protocol does not have (sysexits.h: EX_DATAERR)."""

_MEMORY_SCORE = b"500"
"""Where memory runs out, the kernel is to take this process rather than the server (proc(5), oom_score_adj)."""


def main() -> int:
    """Serves the model until the server closes the socket.

    Returns:
        The exit status.
    """
    # A Ctrl-C in a terminal goes to every process there; how long this one is needed is for the server to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    _volunteer_when_memory_runs_out()
    try:
        connection = _inherited_socket()
        interrupts = InterruptReceiver(connection)
        serve(BlockingChannel(connection), interrupts)
    except MalformedFrame as error:
        print(f"the server sent what the protocol does not have: {error}", file=sys.stderr)
        return PROTOCOL_ERROR
    except (ConnectionError, EOFError):
        pass  # the server has gone, or has let go in the middle of a message
    return 0


def serve(channel: BlockingChannel, interrupts: InterruptReceiver) -> None:
    """Loads a model and runs it until the server closes the channel.

    Args:
        channel: Where the server asks.
        interrupts: Where it takes back what it asked.

    Raises:
        MalformedFrame: If the server sends what the protocol does not have.
        ConnectionError: If the server has gone.
        EOFError: If it has gone in the middle of a message.
    """
    request = channel.receive()
    if request is None:
        return
    if not isinstance(request, Load):
        raise MalformedFrame("the first message has to be a load")
    loaded = _loaded(request)
    if isinstance(loaded, Refusal):
        channel.send(loaded)
        return
    channel.max_payload_bytes = request.max_payload_bytes
    interrupts.listen()
    channel.send(loaded.ready)
    while (request := channel.receive()) is not None:
        if not isinstance(request, Run):
            raise MalformedFrame("a model is loaded once, and then run")
        _answer(channel, loaded, request, interrupts)
        del request  # its tensors would take memory until the next one comes


def _loaded(request: Load) -> ModelRunner | Refusal:
    if request.memory_limit_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory_limit_bytes, request.memory_limit_bytes))

    def load() -> ModelRunner | Refusal:
        # Imported only here, at the low priority too: importing ONNX Runtime takes longer than loading most models.
        from servers.serving.model_process import model_runner

        return model_runner.load(request)

    # Threads of the model's own keep the priority of the one that started them, and would run it at that for ever.
    return at_low_priority(load) if request.intra_op_threads == 1 else load()


def _answer(channel: BlockingChannel, model: ModelRunner, request: Run, interrupts: InterruptReceiver) -> None:
    answer = model.run(request, interrupts)
    try:
        channel.send(answer)
    except PayloadTooLarge as error:
        text = f"the outputs of the run have {error.size_bytes:,} bytes, and may have {channel.max_payload_bytes:,}; send fewer rows a call"
        channel.send(Refusal(request.call, "PREDICTION_TOO_LARGE", text))


def _inherited_socket() -> socket.socket:
    """Takes the socket away from standard input, so that nothing else reads from it."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _volunteer_when_memory_runs_out() -> None:
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(file, _MEMORY_SCORE)
        os.close(file)


if __name__ == "__main__":
    sys.exit(main())
