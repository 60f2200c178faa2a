"""Checks and measures one case: a way to predict, a model, rows a request, and callers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, answer
from benchmarks.serving.load import Answered, send
from benchmarks.serving.models import INPUT, Model
from benchmarks.serving.processor_time import ProcessTree
from benchmarks.serving.systems.system import Endpoint

IN_PROCESS = "ONNX Runtime in process"
_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Case:
    """What is measured.

    Args:
        label: System and protocol.
        model: Name of the model.
        rows: Rows a request.
        concurrency: Callers.
    """

    label: str
    model: str
    rows: int
    concurrency: int


@dataclass(frozen=True)
class Measured:
    """Figures of a case in one round.

    Args:
        per_s: Requests a second.
        mean_ms: Mean latency, in milliseconds.
        p50_ms: Its median.
        p99_ms: Its 99th percentile.
        cpu_us: Processor time of all of the system's processes a request, in microseconds.
    """

    per_s: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


class Subject(Protocol):
    """A case that can be measured."""

    case: Case

    def check(self) -> None:
        """Makes sure that the answers are right, and warms up."""

    def measure(self, seconds: float) -> Measured:
        """Measures for some seconds."""


class ServedSubject:
    """A case of a served model.

    Args:
        endpoint: How the system is called.
        processes: All of the system's processes.
        is_paused: Whether they are paused, and have to be woken.
        model: The model.
        rows: Rows a request.
        concurrency: Callers.
    """

    def __init__(self, endpoint: Endpoint, processes: ProcessTree, is_paused: bool, model: Model, rows: int, concurrency: int) -> None:
        self.case = Case(endpoint.label, model.name, rows, concurrency)
        self._endpoint, self._processes, self._is_paused, self._model = endpoint, processes, is_paused, model
        self._rows = model.rows(rows)
        self._expected = _run(model.session(), self._rows)

    def check(self) -> None:
        """Compares a lone answer and answers under load with those of ONNX Runtime in this process, and warms up meanwhile.

        Raises:
            SystemExit: They differ.
        """
        call = self._call()
        with self._awake(), ThreadPoolExecutor(1) as pool:
            self._compare(call, answer(call), exact=True)
            load = pool.submit(send, call, self.case.concurrency, _WARM_UP_S)
            while not load.done():
                # A row may be summed up in another order when it is part of a batch.
                self._compare(call, answer(call), exact=False)
            load.result()

    def measure(self, seconds: float) -> Measured:
        """Measures for some seconds.

        Raises:
            SystemExit: An answer was no success.
        """
        call = self._call()
        with self._awake():
            before = self._processes.seconds()
            answered = send(call, self.case.concurrency, seconds)
            used = self._processes.seconds() - before
            if call.is_grpc:
                self._check_sizes(call, answered)
        return Measured(answered.per_s, answered.mean_ms, answered.p50_ms, answered.p99_ms, used / answered.requests * 1e6)

    def _awake(self) -> AbstractContextManager[None]:
        return self._processes.awake() if self._is_paused else nullcontext()

    def _call(self) -> Call:
        return self._endpoint.call(self._model, self._rows)

    def _compare(self, call: Call, message: bytes, *, exact: bool) -> None:
        got = call.read(message)
        if not (np.array_equal(got, self._expected) if exact else np.allclose(got, self._expected, rtol=1e-4, atol=1e-5)):
            raise SystemExit(f"{self.case}: predictions are not those of ONNX Runtime\n{got}\n{self._expected}")

    def _check_sizes(self, call: Call, answered: Answered) -> None:
        """Makes sure that every answer had its message: what fails in gRPC has status 200 as well, and no message."""
        frame = len(answer(call)) + 5
        missing = answered.requests * frame - answered.body_bytes
        if not -self.case.concurrency * frame <= missing <= 0:
            raise SystemExit(
                f"{self.case}: {answered.requests} answers of {frame} bytes, but {answered.body_bytes} bytes came: some failed"
            )


class InProcessSubject:
    """`InferenceSession.run` in this process, in a loop, on one thread.

    Args:
        model: The model.
        rows: Rows a run.
    """

    def __init__(self, model: Model, rows: int) -> None:
        self.case = Case(IN_PROCESS, model.name, rows, 1)
        self._session, self._rows = model.session(), model.rows(rows)

    def check(self) -> None:
        """Warms up."""
        for _ in self._latencies_s(_WARM_UP_S):
            pass

    def measure(self, seconds: float) -> Measured:
        """Measures for some seconds."""
        used, began = time.process_time(), time.perf_counter()
        latencies_ms = np.array(list(self._latencies_s(seconds))) * 1000
        count, wall_s, used = len(latencies_ms), time.perf_counter() - began, time.process_time() - used
        p50_ms, p99_ms = (float(np.percentile(latencies_ms, percent)) for percent in (50, 99))
        return Measured(count / wall_s, float(latencies_ms.mean()), p50_ms, p99_ms, used / count * 1e6)

    def _latencies_s(self, seconds: float) -> Iterator[float]:
        now = time.perf_counter()
        until = now + seconds
        while now < until:
            began = now
            _run(self._session, self._rows)
            now = time.perf_counter()
            yield now - began


def _run(session: onnxruntime.InferenceSession, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    (predicted,) = session.run(None, {INPUT: rows})
    return np.asarray(predicted, np.float32)
