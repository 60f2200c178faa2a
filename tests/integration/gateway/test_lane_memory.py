"""Long streams and many callers over lanes, and what they leave in the memory of a worker and of Envoy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.gateway.lane_workers import Workers, running_workers
from tests.integration.runtime.lane_contract import message, stub

MIB = 1 << 20
TOTAL = 200
# What a stream may hold on its way: buffers of sockets, of Envoy and of the lane, and what Python's allocator keeps of them.
SOME_MIB = 80


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with running_workers() as running:
        yield running


class Memory:
    """The most that the processes take while something runs, above what they took before."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._before = self._now()
        self._most = self._before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        return max(most - before for most, before in zip(self._most, self._before, strict=True))

    def _now(self) -> list[float]:
        return [self._workers.rss_mib(0), self._workers.gateway.envoy.rss_mib()]

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self._most = [max(pair) for pair in zip(self._most, self._now(), strict=True)]


def test_200_mib_come_down_over_grpc_in_constant_memory(workers: Workers) -> None:
    with Memory(workers) as memory, workers.gateway.channel() as channel:
        size = sum(len(answer.data) for answer in stub(channel, "Many")(message("Ask")(data=bytes(MIB), count=TOTAL), timeout=120))

    assert size == TOTAL * MIB
    assert memory.grown_mib < SOME_MIB


def test_200_mib_go_up_over_grpc_in_constant_memory(workers: Workers) -> None:
    request = message("Ask")(data=bytes(MIB))

    with Memory(workers) as memory, workers.gateway.channel() as channel:
        answer = stub(channel, "Collect")((request for _ in range(TOTAL)), timeout=120)

    assert answer.count == TOTAL * MIB
    assert memory.grown_mib < SOME_MIB


def test_200_mib_go_up_and_come_down_over_rest_in_constant_memory(workers: Workers) -> None:
    piece = bytes(MIB)

    with Memory(workers) as memory:
        up = workers.gateway.client.put("/lane/raw/x", content=(piece for _ in range(TOTAL)), timeout=120)
        with workers.gateway.client.stream("GET", f"/lane/raw/x?number32={TOTAL}&number64={MIB}", timeout=120) as down:
            size = sum(len(part) for part in down.iter_raw())

    assert up.json()["count"] == str(TOTAL * MIB)
    assert size == TOTAL * MIB
    assert memory.grown_mib < SOME_MIB


def test_a_client_that_does_not_read_holds_a_grpc_stream_back(workers: Workers) -> None:
    with Memory(workers) as memory, workers.gateway.channel() as channel:
        stream: Any = stub(channel, "Many")(message("Ask")(data=bytes(MIB), count=TOTAL), timeout=120)
        next(stream)
        # Others are served meanwhile, many of them one after the other.
        for number in range(200):
            assert stub(channel, "One")(message("Ask")(text=str(number)), timeout=20).text == str(number)
        size = MIB + sum(len(answer.data) for answer in stream)

    assert size == TOTAL * MIB
    assert memory.grown_mib < SOME_MIB


def test_a_client_that_leaves_frees_the_worker(workers: Workers) -> None:
    """More clients leave than the worker has threads, so that one which was not freed would be missed."""
    with workers.gateway.channel() as channel:
        for _ in range(100):
            stream: Any = stub(channel, "Many")(message("Ask")(data=bytes(MIB), count=TOTAL), timeout=120)
            next(stream)
            stream.cancel()

        assert stub(channel, "One")(message("Ask")(text="x"), timeout=20).text == "x"
        assert len(list(stub(channel, "Many")(message("Ask")(count=3), timeout=20))) == 3


def test_many_calls_at_once_are_all_answered(workers: Workers) -> None:
    with workers.gateway.channel() as channel, ThreadPoolExecutor(100) as pool:
        one = stub(channel, "One")
        texts = list(pool.map(lambda number: one(message("Ask")(text=str(number)), timeout=60).text, range(1000)))

    assert texts == [str(number) for number in range(1000)]
