from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from servers.serving.model_process.frames import MalformedFrame
from servers.serving.model_process.interrupts import InterruptReceiver, InterruptSender

WITHIN_S = 30.0


@pytest.fixture
def ends() -> Iterator[tuple[InterruptSender, InterruptReceiver]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = InterruptSender(ours)
        yield sender, InterruptReceiver(theirs)
        sender.close()


def test_the_run_that_is_meant_is_stopped_and_no_other(ends):
    sender, receiver = ends
    stopped, other = threading.Event(), threading.Event()
    receiver.listen()
    receiver.begin(1, other.set)
    receiver.begin(2, stopped.set)

    sender.send(1)
    sender.send(3)
    sender.send(2)

    assert stopped.wait(WITHIN_S)
    assert not other.is_set()


def test_an_interrupt_that_comes_before_its_run_stops_it_too(ends):
    sender, receiver = ends
    last = threading.Event()
    receiver.begin(1, last.set)
    receiver.listen()
    sender.send(1)
    assert last.wait(WITHIN_S), "it was heard"

    stops: list[int] = []
    receiver.begin(1, lambda: stops.append(1))
    receiver.begin(2, lambda: stops.append(2))

    assert stops == [1]


def test_a_process_that_does_not_listen_keeps_nobody(ends):
    sender, _ = ends

    for call in range(10_000):
        sender.send(call)


def test_something_else_is_malformed():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"MLM1")

        with pytest.raises(MalformedFrame):
            InterruptReceiver(theirs)


def test_a_server_that_has_gone_is_the_end():
    ours, theirs = socket.socketpair()
    ours.close()

    with theirs, pytest.raises(EOFError):
        InterruptReceiver(theirs)
