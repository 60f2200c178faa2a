"""Batches of a model that runs in a process of its own: while a run is there, the next batch gathers here."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from servers.serving.batch_queue import Batch, ModelQueue, Outputs, WaitingCall
from servers.serving.batch_run import Request, batch_runs
from servers.serving.model_process.model_process import ModelProcess


class BatchesElsewhere:
    """The runs of one model. Its process has a processor of its own, so it takes no turns with models that run here.

    Args:
        queue: Calls of the model.
        process: Runs them.
        clock: Monotonic seconds.
    """

    def __init__(self, queue: ModelQueue, process: ModelProcess, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._process = process
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def submit(self, call: WaitingCall) -> None:
        """Queues a call, which runs as soon as the process is free. Called on the event loop.

        Raises:
            servers.serving.errors.ModelOverloaded: If too many wait already, or those who wait take longer than the caller has.
            servers.serving.errors.DeadlineTooShort: If the run alone takes longer than the caller has.
        """
        self._queue.admit(call, call.submitted_at)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run_all())

    async def _run_all(self) -> None:
        try:
            while not self._queue.is_empty:
                batch = self._queue.take(self._clock())
                if batch is not None:
                    await self._run(batch)
        finally:
            self._task = None

    async def _run(self, batch: Batch) -> None:
        runs = batch_runs(self._queue, batch, self._clock(), self._clock)
        request = next(runs)
        with contextlib.suppress(StopIteration):
            while True:
                try:
                    arrays = await self._outputs(batch, request)
                except Exception as error:  # the batch knows what to do
                    request = runs.throw(error)
                else:
                    if arrays is None:
                        return
                    request = runs.send(arrays)

    async def _outputs(self, batch: Batch, request: Request) -> Outputs | None:
        """Runs the model; None where every caller has left meanwhile, which interrupts the run."""
        feeds, outputs = request
        run = asyncio.get_running_loop().create_task(self._process.run(feeds, outputs, is_shared=len(batch.calls) > 1))

        def stop_if_unwanted(_: object) -> None:
            if all(call.ticket.done() for call in batch.calls):
                run.cancel()

        for call in batch.calls:
            call.ticket.add_done_callback(stop_if_unwanted)
        try:
            await asyncio.wait((run,))
        finally:
            for call in batch.calls:
                call.ticket.remove_done_callback(stop_if_unwanted)
            run.cancel()
        if not run.cancelled():
            return run.result()
        for _ in batch.calls:
            self._queue.observer.abandoned()
        return None
