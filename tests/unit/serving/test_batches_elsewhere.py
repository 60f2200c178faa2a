from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from servers.serving.batch_queue import NO_DEADLINE, ModelQueue, WaitingCall
from servers.serving.batches_elsewhere import BatchesElsewhere
from servers.serving.model_process.model_process import ModelProcess
from tests.unit.serving.batches import FakeModel, queue_of


class FakeProcess:
    """Answers a run once it is let."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.interrupted: list[list[float]] = []
        self.go_on = asyncio.Event()

    async def run(self, feeds: Any, outputs: Sequence[int], *, is_shared: bool) -> Any:
        values = feeds["x"][:, 0].tolist()
        self.runs.append(values)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.interrupted.append(values)
            raise
        return [feeds["x"]]


class Elsewhere:
    """Calls that are answered elsewhere."""

    def __init__(self, queue: ModelQueue) -> None:
        self.process = FakeProcess()
        self._batches = BatchesElsewhere(queue, cast(ModelProcess, self.process))

    def call(self, value: float) -> asyncio.Future[Any]:
        ticket: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._batches.submit(WaitingCall({"x": np.full((1, 2), value)}, (0,), 1, NO_DEADLINE, 0.0, ticket))
        return ticket

    async def running(self, values: list[float]) -> None:
        async with asyncio.timeout(10):
            while values not in self.process.runs:
                await asyncio.sleep(0)


def unchecked_queue(clock):
    queue = queue_of(FakeModel(clock))
    queue.runs_to_check = 0
    return queue


def test_a_run_whose_only_caller_leaves_is_interrupted_and_the_next_one_runs(clock):
    queue = unchecked_queue(clock)

    async def main() -> None:
        elsewhere = Elsewhere(queue)
        left = elsewhere.call(1.0)
        await elsewhere.running([1.0])
        stays = elsewhere.call(2.0)
        left.cancel()
        await elsewhere.running([2.0])
        elsewhere.process.go_on.set()
        assert (await stays)[0][0, 0] == 2
        assert elsewhere.process.interrupted == [[1.0]]

    asyncio.run(main())
    assert queue.observer.departures == 1


def test_a_shared_run_goes_on_while_somebody_waits_and_ends_when_nobody_does(clock):
    queue = unchecked_queue(clock)

    async def main() -> None:
        elsewhere = Elsewhere(queue)
        first, second = elsewhere.call(1.0), elsewhere.call(2.0)
        await elsewhere.running([1.0, 2.0])
        first.cancel()
        await asyncio.sleep(0)
        assert elsewhere.process.interrupted == []
        elsewhere.process.go_on.set()
        assert (await second)[0][0, 0] == 2

        elsewhere.process.go_on.clear()
        both = elsewhere.call(3.0), elsewhere.call(4.0)
        await elsewhere.running([3.0, 4.0])
        for call in both:
            call.cancel()
        elsewhere.call(5.0)
        await elsewhere.running([5.0])
        assert elsewhere.process.interrupted == [[3.0, 4.0]]

    asyncio.run(main())
    assert queue.observer.departures == 2
