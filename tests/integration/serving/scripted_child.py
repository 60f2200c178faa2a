"""A model's process that misbehaves as told: `scripted_child.py FOLDER BEHAVIOUR…`, one behaviour a start, the last one for all others.

Its model is `y = x`, FP32 [N]. It counts its starts in FOLDER.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from servers.serving.model_process.blocking_channel import BlockingChannel
from servers.serving.model_process.interrupts import InterruptReceiver
from servers.serving.model_process.messages import LOAD, Answer, Load, Ready, Refusal, Run
from servers.serving.model_process.packed_tensors import NamedTensor
from servers.serving.signature import Signature, TensorSpec

GATE = "gate"
"""A named pipe in FOLDER. Who waits there goes on when somebody has opened it for writing."""

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))


def hang() -> None:
    while True:
        signal.pause()


def main() -> None:
    folder, behaviours = Path(sys.argv[1]), sys.argv[2:]
    starts = len(list(folder.glob("start-*")))
    behaviour = behaviours[min(starts, len(behaviours) - 1)]
    if behaviour == "ignores-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"start-{starts}-{os.getpid()}").touch()
    connection = socket.socket(fileno=0)
    InterruptReceiver(connection)
    channel = BlockingChannel(connection)
    request = channel.receive()
    assert isinstance(request, Load)
    channel.max_payload_bytes = request.max_payload_bytes
    if behaviour == "aborts-at-load":
        print("a line for the log", flush=True)
        os.abort()
    if behaviour == "exits-at-load":
        sys.exit(3)
    if behaviour == "hangs-at-load":
        hang()
    if behaviour == "garbage-at-load":
        connection.sendall(b"\x16\x03\x01 this is no frame at all")
        hang()
    if behaviour == "closes-at-load":
        connection.shutdown(socket.SHUT_RDWR)
        hang()
    if behaviour == "refuses-load":
        channel.send(Refusal(LOAD, "MODEL_LOAD_FAILED", "it is not to my taste"))
        hang()
    if behaviour == "refuses-load-by-another-name":
        channel.send(Refusal(LOAD, "PERMISSION_DENIED", "ask your administrator"))
        hang()
    if behaviour == "waits-at-load":
        (folder / GATE).read_bytes()
    channel.send(Ready(SIGNATURE, ""))
    if behaviour == "answers-unasked":
        channel.send(Answer(1, []))
    while (request := channel.receive()) is not None:
        assert isinstance(request, Run)
        answer(channel, connection, request, behaviour)
    if behaviour == "ignores-sigterm":
        hang()


def answer(channel: BlockingChannel, connection: socket.socket, request: Run, behaviour: str) -> None:
    array = request.inputs[0].array
    is_poison = len(array) > 0 and array[0] == 666
    if behaviour == "dies-of-poison" and is_poison:
        os.kill(os.getpid(), signal.SIGSEGV)
    if behaviour == "hangs-on-poison" and is_poison:
        hang()
    if behaviour == "dies-at-run":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "garbage-at-run":
        connection.sendall(b"MLM1" + b"\xff" * 12)
        hang()
    if behaviour == "another-call-at-run":
        channel.send(Answer(request.call + 1, [NamedTensor("y", "FP32", array)]))
        hang()
    if behaviour == "another-output-at-run":
        channel.send(Answer(request.call, [NamedTensor("y", "FP64", array.astype("f8"))]))
        hang()
    if behaviour == "refuses-run-by-another-name":
        channel.send(Refusal(request.call, "UNAUTHENTICATED", "sign in again"))
        hang()
    channel.send(Answer(request.call, [NamedTensor("y", "FP32", array)]))


if __name__ == "__main__":
    main()
