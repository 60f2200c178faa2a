"""Batches without a timer: whatever was submitted in one turn of the event loop becomes one run of its model.

Nobody waits for company. A call that comes alone runs at once and as it is; under load, calls pile up while a run is under way, and the
next run takes them all. `BatchScheduler` decides what runs and when, and is deterministic: the clock is handed in, and it knows no event
loop. `Batcher` gives it turns of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from servers.serving.batch_queue import NO_DEADLINE, Batch, ModelQueue, WaitingCall
from servers.serving.batch_run import alone_answered, alone_failed, batch_runs
from servers.serving.tensors import Feeds


class BatchScheduler:
    """Chooses whose turn it is, runs the batch, and hands out the answers.

    Of the models that have work, the one goes first that has used the least time, but none goes twice while another one waits: a model
    waits for at most one run of each other model. A model that was idle starts where the others are, so idleness saves nothing up.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._active: list[ModelQueue] = []
        self._turn = 0
        self._used_by_last_s = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits."""
        return not self._active

    def submit(self, queue: ModelQueue, call: WaitingCall) -> None:
        """Puts a call into the queue of its model.

        Raises:
            servers.serving.errors.ModelOverloaded: If too many wait already, or those who wait take longer than the caller has.
            servers.serving.errors.DeadlineTooShort: If the run alone takes longer than the caller has.
        """
        is_first = queue.is_empty
        others_s = self._others_s(queue) if call.deadline != NO_DEADLINE and self._active else 0.0
        queue.admit(call, call.submitted_at, others_s)
        if is_first:
            queue.used_s = max(queue.used_s, self._used_by_last_s)
            queue.waiting_since = self._turn
            self._active.append(queue)

    def run_for(self, slice_s: float) -> bool:
        """Runs batches until the time is over, one at least.

        Returns:
            Whether somebody still waits.
        """
        now = self._clock()
        end = now + slice_s
        while self._active:
            self._run_next(now)
            if not self._active:
                break
            now = self._clock()
            if now >= end:
                return True
        return False

    def run_next(self) -> None:
        """Runs one batch, if somebody waits."""
        if self._active:
            self._run_next(self._clock())

    def _run_next(self, now: float) -> None:
        queue = self._active[0] if len(self._active) == 1 else self._next()
        batch = queue.take(now)
        self._turn += 1
        if batch is not None:
            if len(batch.calls) == 1:
                self._run_alone(queue, batch, now)
            else:
                self._run_shared(queue, batch, now)
            queue.last_turn = self._turn
            self._used_by_last_s = queue.used_s
            queue.used_s += queue.ran_at - now
        if queue.is_empty:
            self._active.remove(queue)
        else:
            queue.waiting_since = self._turn

    def _next(self) -> ModelQueue:
        longest_waiting = min(self._active, key=lambda queue: queue.waiting_since)
        candidates = [queue for queue in self._active if queue.last_turn <= longest_waiting.waiting_since]
        return min(candidates, key=lambda queue: queue.used_s)

    def _others_s(self, queue: ModelQueue) -> float:
        """How long other models may keep this one waiting: one run of each."""
        return sum(min(other.backlog_s(), other.cost.predict(other.limits.max_rows)) for other in self._active if other is not queue)

    def _run_alone(self, queue: ModelQueue, batch: Batch, started: float) -> None:
        """As `batch_runs` would, without the time that a generator takes."""
        (call,) = batch.calls
        try:
            arrays = queue.run(call.feeds, call.outputs)
        except Exception as error:  # whatever it is, the caller has to get an answer
            alone_failed(queue, batch, started, self._clock(), error)
        else:
            alone_answered(queue, batch, started, self._clock(), arrays)

    def _run_shared(self, queue: ModelQueue, batch: Batch, started: float) -> None:
        runs = batch_runs(queue, batch, started, self._clock)
        request = next(runs)
        with contextlib.suppress(StopIteration):
            while True:
                try:
                    arrays = queue.run(*request)
                except Exception as error:  # the batch knows what to do
                    request = runs.throw(error)
                else:
                    request = runs.send(arrays)


class Batcher:
    """Runs the scheduler in turns of an event loop. Everything here is called on that loop's thread.

    Args:
        slice_s: How long batches are run before sockets are read again, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(self, slice_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._slice_s = slice_s
        self._clock = clock
        self._scheduler = BatchScheduler(clock)
        self._is_scheduled = False

    def submit(self, queue: ModelQueue, feeds: Feeds, outputs: tuple[int, ...], rows: int, timeout_s: float | None) -> WaitingCall:
        """Queues a call. It runs in the next turn of the loop; its ticket is a future to await.

        Args:
            queue: Calls of the model.
            feeds: Its inputs, checked against the signature.
            outputs: Positions of the outputs wanted.
            rows: Its rows.
            timeout_s: How long the caller waits, in seconds; None = for ever.

        Raises:
            servers.serving.errors.ModelOverloaded: If too many wait already, or those who wait take longer than the caller has.
            servers.serving.errors.DeadlineTooShort: If the run alone takes longer than the caller has.
        """
        loop = asyncio.get_running_loop()
        now = self._clock()
        call = WaitingCall(feeds, outputs, rows, NO_DEADLINE if timeout_s is None else now + timeout_s, now, loop.create_future())
        if queue.elsewhere is not None:
            queue.elsewhere(call)
            return call
        self._scheduler.submit(queue, call)
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush, loop)
        return call

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        if self._scheduler.run_for(self._slice_s) and not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._flush, loop)
