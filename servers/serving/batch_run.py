"""What becomes of a batch: its run, its doubts, its answers. Does not run anything itself, so it serves a model here and one elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator

from servers.runtime.errors import DomainError
from servers.serving.batch_queue import Batch, ModelQueue, Outputs, WaitingCall
from servers.serving.batch_sharing import agree, joined, parted
from servers.serving.tensors import Feeds

_LOGGER = logging.getLogger(__name__)

Request = tuple[Feeds, tuple[int, ...]]
"""Inputs, and the outputs wanted."""

BatchRuns = Generator[Request, Outputs, None]


def batch_runs(queue: ModelQueue, batch: Batch, started: float, clock: Callable[[], float]) -> BatchRuns:
    """Answers the calls of a batch.

    Args:
        queue: Where they waited.
        batch: The calls.
        started: The time now.
        clock: Monotonic seconds.

    Yields:
        Each run that it takes. The outputs are sent in, or the error is thrown in.
    """
    return _run_alone(queue, batch, started, clock) if len(batch.calls) == 1 else _run_shared(queue, batch, started, clock)


def alone_answered(queue: ModelQueue, batch: Batch, started: float, now: float, arrays: Outputs) -> None:
    """Answers the only call of a batch."""
    (call,) = batch.calls
    queue.observer.ran(batch, started, _ended(queue, batch, started, now), is_answer=True)
    call.started_at = started
    if not call.ticket.done():
        call.ticket.set_result(arrays)


def alone_failed(queue: ModelQueue, batch: Batch, started: float, now: float, error: Exception) -> None:
    """Fails the only call of a batch."""
    (call,) = batch.calls
    _failed(queue, batch, started, now)
    if not isinstance(error, DomainError):
        _LOGGER.error("%s: a run failed for a reason that is not the caller's", queue.name, exc_info=error)
    if not call.ticket.done():
        call.ticket.set_exception(error)


def _run_alone(queue: ModelQueue, batch: Batch, started: float, clock: Callable[[], float]) -> BatchRuns:
    (call,) = batch.calls
    try:
        arrays = yield call.feeds, call.outputs
    except Exception as error:  # whatever it is, the caller has to get an answer
        alone_failed(queue, batch, started, clock(), error)
    else:
        alone_answered(queue, batch, started, clock(), arrays)


def _run_shared(queue: ModelQueue, batch: Batch, started: float, clock: Callable[[], float]) -> BatchRuns:
    calls = batch.calls
    try:
        arrays = yield joined([call.feeds for call in calls], queue.sharing.names), calls[0].outputs
    except Exception:  # one bad input is to fail alone, and memory that does not suffice for all may do for one
        _failed(queue, batch, started, clock())
        queue.send_back(batch)
        return
    run_s = _ended(queue, batch, started, clock())
    parts = parted(arrays, [call.rows for call in calls])
    doubt = _no_rows(queue, arrays, batch) if parts is None else (yield from _difference(queue, batch, parts))
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


def _difference(queue: ModelQueue, batch: Batch, parts: list[Outputs]) -> Generator[Request, Outputs, str]:
    """Runs the first and the last call of an early shared run alone too, and says where the answers differ."""
    if not queue.runs_to_check:
        return ""
    queue.runs_to_check -= 1
    for index in (0, -1):
        call: WaitingCall = batch.calls[index]
        try:
            alone = yield call.feeds, call.outputs
        except Exception:  # it failed alone and not in company
            return "a call was answered in a shared run and not in a run of its own"
        for output, shared, single in zip(call.outputs, parts[index], alone, strict=True):
            spec = queue.signature.outputs[output]
            if not agree(spec, shared, single):
                return f"output `{spec.name}` of a row depends on the other rows of the run"
    return ""


def _ended(queue: ModelQueue, batch: Batch, started: float, now: float) -> float:
    queue.ran_at = now
    queue.cost.learn(batch.rows, now - started)
    return now - started


def _failed(queue: ModelQueue, batch: Batch, started: float, now: float) -> None:
    """What it took does not tell what a run takes."""
    queue.ran_at = now
    queue.observer.ran(batch, started, now - started, is_answer=False)


def _no_rows(queue: ModelQueue, arrays: Outputs, batch: Batch) -> str:
    index = next(index for index, array in enumerate(arrays) if not array.ndim or array.shape[0] != batch.rows)
    spec = queue.signature.outputs[batch.calls[0].outputs[index]]
    return f"output `{spec.name}` has shape {list(arrays[index].shape)} for {batch.rows} rows"
