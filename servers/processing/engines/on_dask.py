"""Dask: tasks are futures of `distributed`, chunks stay with the workers that made them, inputs are files.

Files, since what a client scatters is gone with the worker that has it, while a task that reads a file can run again.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask
import pyarrow as pa
from dask.sizeof import sizeof
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, wait
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm.core import CommClosedError

from servers.processing.engines.chunks import Chunk, ChunkFile, write_file
from servers.processing.engines.errors import EngineUnreachable, WorkerLost
from servers.processing.engines.kinds import EngineSettings
from servers.processing.engines.scheduling import ClusterEngine, Partition
from servers.processing.engines.tasks import Task, task_chunks
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import Cancelled, EngineFailed
from servers.runtime.errors import DomainError

_STOPS_WITHIN_S = 5
_PYTHON_BYTES = 384 << 20
"""What a worker takes before it has any rows."""


@contextmanager
def dask_engine(settings: EngineSettings) -> Iterator[ClusterEngine]:
    """Connects to a Dask scheduler, or starts one with workers on this machine.

    Raises:
        EngineUnreachable: UNAVAILABLE: the scheduler does not answer, or workers cannot be started.
    """
    with ExitStack() as stack:
        try:
            address = settings.address or stack.enter_context(_started(settings))
            client = stack.enter_context(Client(address, timeout=settings.connect_timeout_s, set_as_default=False))
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            where = settings.address or "on this machine"
            raise EngineUnreachable(f"Dask {where} cannot be used: {str(error)[:500]}") from error
        yield ClusterEngine(settings, lambda: _cluster(client, settings))


@contextmanager
def _started(settings: EngineSettings) -> Iterator[LocalCluster]:
    options = {"distributed.worker.daemon": False, "distributed.diagnostics.nvml": False, "distributed.scheduler.http.routes": []}
    memory = settings.task_memory_bytes + settings.store_bytes // settings.workers + _PYTHON_BYTES
    with (
        dask.config.set(options),
        LocalCluster(
            n_workers=settings.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            # Otherwise it is port 8787, also without a dashboard.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            memory_limit=memory,
            local_directory=str(settings.spill_folder),
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


@sizeof.register(pa.Buffer)  # type: ignore[untyped-decorator]  # Dask is not installed there
def _buffer_bytes(buffer: pa.Buffer) -> int:
    """Dask does not know it, and would not spill."""
    return int(buffer.size)


Chunks = list[tuple[int, pa.Buffer]]


@dataclass(frozen=True, eq=False)
class _Computing:
    """A task that runs in this worker."""

    run: str
    cancellation: Cancellation
    is_done: threading.Event


_computing: set[_Computing] = set()
"""Of a worker."""
_ended: set[str] = set()
"""Of a worker: runs of which nothing has to begin any more."""


def _on_worker(run: str, task: Task, inputs: Sequence[Sequence[Any]]) -> Chunks:
    computing = _Computing(run, Cancellation(), threading.Event())
    _computing.add(computing)
    try:
        if run in _ended:
            raise Cancelled("the run was cancelled; nothing of it is kept")
        return list(task_chunks(task, inputs, computing.cancellation))
    finally:
        _computing.discard(computing)
        computing.is_done.set()


def _end_on_worker(run: str, dask_worker: Worker) -> None:
    _ended.add(run)
    for computing in list(_computing):
        if computing.run == run:
            # Threads, since this one answers the scheduler, and DuckDB may wait for a function that never returns.
            threading.Thread(target=computing.cancellation.cancel, daemon=True).start()
            threading.Thread(target=_end, args=(computing, dask_worker.nanny is not None), daemon=True).start()


def _end(computing: _Computing, is_replaced: bool) -> None:
    """Ends the worker if a task does not stop; a nanny starts another one."""
    if not computing.is_done.wait(_STOPS_WITHIN_S) and is_replaced:
        os._exit(1)


def _numbers(chunks: Chunks) -> list[int]:
    return [number for number, _ in chunks]


def _picked(chunks: Chunks, place: int) -> pa.Buffer:
    return chunks[place][1]


@dataclass(frozen=True, eq=False)
class _Running:
    chunks: Future
    numbers: Future


class _DaskCluster:
    """Cancels inside of workers, since a thread cannot be ended: DuckDB is interrupted; a worker with a function that goes on ends."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._run = uuid4().hex

    def put(self, chunk: pa.Buffer) -> ChunkFile:
        return write_file(chunk, self._folder)

    def start(self, task: Task, inputs: Sequence[Partition]) -> _Running:
        chunks = self._client.submit(_on_worker, self._run, task, [list(each) for each in inputs], pure=False)
        return _Running(chunks, self._client.submit(_numbers, chunks, pure=False))

    def finished(self, running: Sequence[_Running], timeout_s: float) -> Sequence[_Running]:
        if not running:
            return []
        try:
            with _typed_errors(), self._client.as_current():
                done = wait([each.numbers for each in running], timeout=timeout_s, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            return []
        return [each for each in running if each.numbers in done]

    def result(self, running: _Running) -> Sequence[tuple[int, Future]]:
        with _typed_errors():
            numbers = running.numbers.result()
            picked = [self._client.submit(_picked, running.chunks, place, pure=False) for place in range(len(numbers))]
            return list(zip(numbers, picked, strict=True))

    def fetch(self, handle: Any) -> Chunk:
        with _typed_errors():
            chunk: Chunk = handle.result() if isinstance(handle, Future) else handle
            return chunk

    def stop(self, running: Sequence[_Running]) -> None:
        if running:
            self._client.cancel([future for each in running for future in (each.numbers, each.chunks)], force=True)
            self._client.run(_end_on_worker, self._run, on_error="ignore")


@contextmanager
def _cluster(client: Client, settings: EngineSettings) -> Iterator[_DaskCluster]:
    with tempfile.TemporaryDirectory(prefix="inputs-", dir=settings.spill_folder, ignore_cleanup_errors=True) as folder:
        yield _DaskCluster(client, Path(folder))


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except (DomainError, TimeoutError):
        raise
    except KilledWorker as error:
        raise WorkerLost(f"workers were lost again and again while they computed: {str(error)[:500]}; run it again") from error
    except (FutureCancelledError, FuturesCancelledError, CommClosedError, OSError) as error:
        raise WorkerLost(f"the scheduler or the rows that workers had were lost: {str(error)[:500]}; run it again") from error
    except Exception as error:
        raise EngineFailed(f"a task failed: {type(error).__name__}: {str(error)[:500]}") from error
