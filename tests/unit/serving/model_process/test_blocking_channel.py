from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from servers.serving.model_process.blocking_channel import BlockingChannel, send_parts
from servers.serving.model_process.frames import MalformedFrame, PayloadTooLarge
from servers.serving.model_process.messages import Answer, Refusal, Run, message_parts
from servers.serving.model_process.packed_tensors import NamedTensor


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_bytes_in_more_places_than_the_kernel_takes_at_once_arrive_in_order(ends):
    ours, theirs = ends
    parts = [bytes([index % 256]) * (index % 700) for index in range(3000)]
    sender = threading.Thread(target=lambda: (send_parts(ours, parts), ours.close()))
    sender.start()

    with theirs.makefile("rb") as file:
        found = file.read()
    sender.join()

    assert found == b"".join(parts)


def test_messages_that_come_together_are_received_one_by_one(ends):
    ours, theirs = ends
    ours.sendall(b"".join(message_parts(Refusal(call, "", ""))[0] for call in (1, 2, 3)))
    ours.close()
    channel = BlockingChannel(theirs)

    assert [channel.receive() for _ in range(4)] == [Refusal(1, "", ""), Refusal(2, "", ""), Refusal(3, "", ""), None]


def test_an_end_within_a_message_is_not_an_end(ends):
    ours, theirs = ends
    ours.sendall(message_parts(Refusal(1, "", ""))[0][:-1])
    ours.close()

    with pytest.raises(EOFError):
        BlockingChannel(theirs).receive()


def test_no_payload_is_taken_before_its_limit_is_known(ends):
    ours, theirs = ends
    tensor = NamedTensor("x", "UINT8", np.zeros(1, np.uint8))
    ours.sendall(message_parts(Run(1, [tensor], ()), max_payload_bytes=1)[0])

    with pytest.raises(MalformedFrame, match="a payload may have 0 bytes"):
        BlockingChannel(theirs).receive()


def test_nothing_is_sent_of_what_is_too_large(ends):
    ours, theirs = ends
    channel = BlockingChannel(ours)
    channel.max_payload_bytes = 10

    with pytest.raises(PayloadTooLarge):
        channel.send(Answer(1, [NamedTensor("x", "UINT8", np.zeros(11, np.uint8))]))
    channel.send(Refusal(1, "", ""))

    assert BlockingChannel(theirs).receive() == Refusal(1, "", "")
