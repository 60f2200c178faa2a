"""The end of a call, seen from two threads."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from servers.runtime.lane.context import Aborted, LaneContext

THREADS, ROUNDS = 4, 200


def test_who_is_told_that_she_will_be_called_is_called_once() -> None:
    """A call that counts as running must be counted off, however its end and its beginning interleave."""
    with ThreadPoolExecutor(THREADS + 1) as pool:
        for _ in range(ROUNDS):
            context, told = LaneContext({}, None), Counter[int]()
            together = threading.Barrier(THREADS + 1)

            def add(number: int, context: LaneContext = context, told: Counter[int] = told, at: threading.Barrier = together) -> bool:
                at.wait()
                return context.add_callback(lambda: told.update([number]))

            promised = [pool.submit(add, number) for number in range(THREADS)]
            together.wait()
            context.end()

            assert [number for number in range(THREADS) if promised[number].result()] == sorted(told.elements())


def test_a_callback_that_fails_keeps_no_other_from_being_called() -> None:
    context, told = LaneContext({}, None), []
    context.add_callback(lambda: 1 / 0)
    context.add_callback(lambda: told.append("second"))

    context.end()

    assert told == ["second"]
    assert not context.is_active()


def test_an_abort_keeps_its_status() -> None:
    context = LaneContext({}, None)

    with pytest.raises(Aborted):
        context.abort(grpc.StatusCode.NOT_FOUND, "not here")

    assert context.failure is not None
    assert (context.failure.code, context.failure.details) == (grpc.StatusCode.NOT_FOUND, "not here")


def test_a_deadline_that_is_over_makes_the_call_inactive() -> None:
    late, early = LaneContext({}, 0.0), LaneContext({}, None)

    assert (late.is_active(), late.time_remaining()) == (False, 0.0)
    assert (early.is_active(), early.time_remaining()) == (True, None)


def test_metadata_are_decoded_once_asked_for() -> None:
    context = LaneContext({b"x-name": b"caf\xe9", b"x-bytes-bin": b"AP8", b"x-odd-bin": b"*"}, None)

    assert dict(context.invocation_metadata()) == {"x-name": "café", "x-bytes-bin": b"\x00\xff", "x-odd-bin": b"*"}
    assert (context.header("x-bytes-bin"), context.header("x-none")) == (b"\x00\xff", None)
