"""A model, its queue and its callers in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from servers.serving.batch_queue import NO_DEADLINE, Batch, BatchLimits, CloseReason, ModelQueue, WaitingCall
from servers.serving.batch_sharing import sharing_of
from servers.serving.errors import ModelRunRefused
from servers.serving.signature import Signature, TensorSpec
from tests.unit.serving.conftest import Clock

SIGNATURE = Signature(
    (TensorSpec("x", "FP64", (-1, -1), ("N", "M")),),
    (TensorSpec("same", "FP64", (-1, -1), ("N", "M")), TensorSpec("double", "FP64", (-1, -1), ("N", "M"))),
)
POISON = -1.0


class Ticket:
    """Takes one answer, and refuses a second."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_cancelled = False

    def done(self) -> bool:
        return self.is_cancelled or self.result is not None or self.error is not None

    def set_result(self, result: Any) -> None:
        assert not self.done()
        self.result = result

    def set_exception(self, exception: BaseException) -> None:
        assert not self.done()
        self.error = exception

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        raise AssertionError("for runs that something else goes on beside")

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        raise AssertionError("for runs that something else goes on beside")


@dataclass
class Observer:
    """Remembers what it is told."""

    batches: list[Batch] = field(default_factory=list)
    refusals: int = 0
    departures: int = 0

    def ran(self, batch: Batch, started_at: float, run_s: float, *, is_answer: bool) -> None:
        self.batches.append(batch)

    def refused(self) -> None:
        self.refusals += 1

    def abandoned(self) -> None:
        self.departures += 1

    @property
    def reasons(self) -> list[CloseReason]:
        return [batch.reason for batch in self.batches]


class FakeModel:
    """`same = x`, `double = 2 x`; takes time, and fails where a value is poison."""

    def __init__(self, clock: Clock, base_s: float = 0.001, slope_s: float = 0.0001, change: Callable[[Any], Any] = lambda x: x) -> None:
        self.clock = clock
        self.base_s = base_s
        self.slope_s = slope_s
        self.change = change
        self.runs: list[Any] = []

    def __call__(self, feeds: Any, outputs: tuple[int, ...]) -> list[Any]:
        x = feeds["x"]
        self.runs.append(x)
        self.clock.seconds += self.base_s + self.slope_s * len(x)
        if (x == POISON).any():
            raise ModelRunRefused("poison")
        return [self.change([x, 2 * x][index]) for index in outputs]


def queue_of(model: Any, observer: Any = None, signature: Signature = SIGNATURE, **limits: int) -> ModelQueue:
    known = {"max_rows": 16, "max_bytes": 100_000, "max_queued_rows": 100, "max_queued_calls": 20}
    return ModelQueue("`m`", signature, sharing_of(signature), model, BatchLimits(**{**known, **limits}), observer or Observer())


def call_of(
    clock: Clock, rows: int = 1, width: int = 2, outputs: tuple[int, ...] = (0,), value: float = 1.0, wait_s: float | None = None
) -> WaitingCall:
    deadline = NO_DEADLINE if wait_s is None else clock() + wait_s
    return WaitingCall({"x": np.full((rows, width), value)}, outputs, rows, deadline, clock(), Ticket())
