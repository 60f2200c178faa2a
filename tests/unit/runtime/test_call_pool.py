"""The end of the pool that runs calls."""

from __future__ import annotations

import threading

import pytest

from servers.runtime.call_pool import CallPool


def test_it_ends_while_calls_are_submitted_under_the_lock_that_their_ends_want() -> None:
    # As gRPC does: it submits under its lock, and takes that in the callback of each call.
    lock = threading.Lock()
    began, may_end, submits = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        may_end.wait()

    def end(_: object) -> None:
        with lock:
            pass

    def submit_until_refused() -> None:
        with lock, pytest.raises(RuntimeError, match="after shutdown"):  # noqa: PT012 - the one of them that comes after the end
            while True:
                pool.submit(int)
                submits.set()

    pool = CallPool(worker_threads=1, max_calls=10_000_000, name="calls")
    pool.submit(block)
    began.wait()
    waits = pool.submit(int)
    waits.add_done_callback(end)
    submitter = threading.Thread(target=submit_until_refused, daemon=True)
    submitter.start()
    submits.wait()

    ender = threading.Thread(target=pool.shutdown, kwargs={"wait": False, "cancel_futures": True}, daemon=True)
    ender.start()
    ender.join(60)
    submitter.join(60)
    may_end.set()

    assert not ender.is_alive()
    assert not submitter.is_alive()
    assert waits.result(60) == 0
