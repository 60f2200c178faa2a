"""Batches without a timer: whatever was submitted in one turn of the event loop becomes one run of its model.

Nobody waits for company. A call that comes alone runs at once and as it is; under load, calls pile up while a run is under way, and the
next run takes them all. `BatchScheduler` decides what runs and when, and is deterministic: the clock is handed in, and it knows no event
loop. `Batcher` gives it turns of one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from servers.runtime.errors import DomainError
from servers.serving.batch_queue import NO_DEADLINE, Batch, ModelQueue, Outputs, WaitingCall
from servers.serving.batch_sharing import agree, joined, parted
from servers.serving.tensors import Feeds

_LOGGER = logging.getLogger(__name__)


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
        (call,) = batch.calls
        try:
            answer = queue.run(call.feeds, call.outputs)
        except Exception as error:  # whatever it is, the caller has to get an answer
            self._failed(queue, batch, started)
            if not isinstance(error, DomainError):
                _LOGGER.exception("%s: a run failed for a reason that is not the caller's", queue.name)
            if not call.ticket.done():
                call.ticket.set_exception(error)
            return
        run_s = self._ended(queue, batch, started)
        queue.observer.ran(batch, started, run_s, is_answer=True)
        call.started_at = started
        if not call.ticket.done():
            call.ticket.set_result(answer)

    def _run_shared(self, queue: ModelQueue, batch: Batch, started: float) -> None:
        calls = batch.calls
        try:
            arrays = queue.run(joined([call.feeds for call in calls], queue.sharing.names), calls[0].outputs)
        except Exception:  # one bad input is to fail alone, and memory that does not suffice for all may do for one
            self._failed(queue, batch, started)
            queue.send_back(batch)
            return
        run_s = self._ended(queue, batch, started)
        parts = parted(arrays, [call.rows for call in calls])
        doubt = _no_rows(queue, arrays, batch) if parts is None else self._difference(queue, batch, parts)
        if parts is None or doubt:
            _LOGGER.warning("%s: calls do not share runs any more: %s", queue.name, doubt)
            queue.observer.ran(batch, started, run_s, is_answer=False)
            queue.withdraw_sharing(doubt)
            queue.send_back(batch)
            return
        queue.observer.ran(batch, started, run_s, is_answer=True)
        for call, part in zip(calls, parts, strict=True):
            call.batch_rows, call.started_at = batch.rows, started
            if not call.ticket.done():
                call.ticket.set_result(part)

    def _ended(self, queue: ModelQueue, batch: Batch, started: float) -> float:
        queue.ran_at = self._clock()
        run_s = queue.ran_at - started
        queue.cost.learn(batch.rows, run_s)
        return run_s

    def _failed(self, queue: ModelQueue, batch: Batch, started: float) -> None:
        """What it took does not tell what a run takes."""
        queue.ran_at = self._clock()
        queue.observer.ran(batch, started, queue.ran_at - started, is_answer=False)

    def _difference(self, queue: ModelQueue, batch: Batch, parts: list[Outputs]) -> str:
        """Runs the first and the last call of an early shared run alone too, and says where the answers differ."""
        if not queue.runs_to_check:
            return ""
        queue.runs_to_check -= 1
        for index in (0, -1):
            call = batch.calls[index]
            try:
                alone = queue.run(call.feeds, call.outputs)
            except Exception:  # it failed alone and not in company
                return "a call was answered in a shared run and not in a run of its own"
            for output, shared, single in zip(call.outputs, parts[index], alone, strict=True):
                spec = queue.signature.outputs[output]
                if not agree(spec, shared, single):
                    return f"output `{spec.name}` of a row depends on the other rows of the run"
        return ""


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


def _no_rows(queue: ModelQueue, arrays: Outputs, batch: Batch) -> str:
    index = next(index for index, array in enumerate(arrays) if not array.ndim or array.shape[0] != batch.rows)
    spec = queue.signature.outputs[batch.calls[0].outputs[index]]
    return f"output `{spec.name}` has shape {list(arrays[index].shape)} for {batch.rows} rows"
