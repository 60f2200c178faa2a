"""Ray: tasks are Ray tasks, chunks are objects of its store, which spills them."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pyarrow as pa
import ray
from ray._private import ray_constants
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.experimental import internal_kv

from servers.processing.engines.chunks import Chunk
from servers.processing.engines.errors import EngineUnreachable, WorkerLost
from servers.processing.engines.kinds import EngineSettings
from servers.processing.engines.scheduling import ClusterEngine, Partition
from servers.processing.engines.tasks import Task, task_chunks
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import Cancelled, EngineFailed, OutOfMemory
from servers.runtime.errors import DomainError

_RETRIES = 3
"""How often a task runs again after its worker was lost."""
_LOOKED_AFTER_S = 0.5
_STOPS_WITHIN_S = 5
_NAMESPACE = b"mlmesh-processing"


@contextmanager
def ray_engine(settings: EngineSettings) -> Iterator[ClusterEngine]:
    """Connects to a Ray cluster, or starts one on this machine.

    Raises:
        EngineUnreachable: UNAVAILABLE: the cluster does not answer or cannot be started.
    """
    # Sockets lie below Ray's folder, and their paths may have some hundred characters only.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            ray.init(**_options(settings, folder))
        except (ConnectionError, TimeoutError, RayError, OSError, RuntimeError, ValueError) as error:
            where = settings.address or "on this machine"
            raise EngineUnreachable(f"Ray {where} cannot be used: {str(error)[:500]}") from error
        try:
            yield ClusterEngine(settings, _cluster)
        finally:
            ray.shutdown()


def _options(settings: EngineSettings, folder: str) -> dict[str, Any]:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if settings.address:
        return {**common, "address": settings.address}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # It replaces 127.0.0.1 by an address that others reach, but for this: for the processes that it starts, and for this one.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    spilled = {"type": "filesystem", "params": {"directory_path": str(settings.spill_folder)}}
    return {
        **common,
        "address": "local",
        "num_cpus": settings.workers,
        "num_gpus": 0,
        "object_store_memory": settings.store_bytes,
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": folder,
        "_system_config": {"object_spilling_config": json.dumps(spilled)},
    }


def _on_worker(run: str, task: Task, inputs: Sequence[Partition]) -> Iterator[Any]:
    """Yields the chunks of a task's result and then the numbers of their partitions."""
    numbers = []
    brought = [(ray.get(each) if isinstance(each, ray.ObjectRef) else each for each in handles) for handles in inputs]
    with _cancellable(run) as cancellation:
        for number, chunk in task_chunks(task, brought, cancellation):
            numbers.append(number)
            yield chunk
    yield numbers


@contextmanager
def _cancellable(run: str) -> Iterator[Cancellation]:
    """Looks whether the run has ended. `ray.cancel` is not used: where a task finishes at that moment, Ray 2.60 aborts the driver."""
    if _is_ended(run):
        raise Cancelled("the run was cancelled; nothing of it is kept")
    cancellation, is_done = Cancellation(), threading.Event()

    def watch() -> None:
        while not is_done.wait(_LOOKED_AFTER_S):
            if _is_ended(run):
                # A thread, since DuckDB may wait for a function that never returns; then Ray replaces this worker.
                threading.Thread(target=cancellation.cancel, daemon=True).start()
                if not is_done.wait(_STOPS_WITHIN_S):
                    os._exit(1)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield cancellation
    finally:
        is_done.set()


def _is_ended(run: str) -> bool:
    return bool(internal_kv._internal_kv_exists(run.encode(), namespace=_NAMESPACE))


class _RayCluster:
    """Chunks are named in tasks' arguments, not given, so that a task brings one after the other and not all before it begins."""

    def __init__(self) -> None:
        self._run = uuid4().hex
        self._function = ray.remote(num_cpus=1, max_retries=_RETRIES, num_returns="streaming")(_on_worker)
        self._tasks: dict[ray.ObjectRef, Any] = {}

    def put(self, chunk: pa.Buffer) -> ray.ObjectRef:
        return ray.put(chunk)

    def start(self, task: Task, inputs: Sequence[Partition]) -> ray.ObjectRef:
        results = self._function.remote(self._run, task, list(inputs))
        done = results.completed()
        self._tasks[done] = results
        return done

    def finished(self, running: Sequence[ray.ObjectRef], timeout_s: float) -> Sequence[ray.ObjectRef]:
        if not running:
            return []
        done: list[ray.ObjectRef] = ray.wait(list(running), num_returns=len(running), timeout=0, fetch_local=False)[0]
        return done or ray.wait(list(running), num_returns=1, timeout=timeout_s, fetch_local=False)[0]

    def result(self, running: ray.ObjectRef) -> Sequence[tuple[int, ray.ObjectRef]]:
        results = self._tasks.pop(running)
        with _typed_errors():
            ray.get(running)
            *chunks, numbers = list(results)
            return list(zip(ray.get(numbers), chunks, strict=True))

    def fetch(self, handle: ray.ObjectRef) -> Chunk:
        with _typed_errors():
            chunk: Chunk = ray.get(handle)
            return chunk

    def stop(self, running: Sequence[ray.ObjectRef]) -> None:
        for each in running:
            self._tasks.pop(each, None)
        if running:
            internal_kv._internal_kv_put(self._run.encode(), b"ended", namespace=_NAMESPACE)


@contextmanager
def _cluster() -> Iterator[_RayCluster]:
    cluster = _RayCluster()
    try:
        yield cluster
    finally:
        cluster.stop(list(cluster._tasks))


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, DomainError):
            raise error.cause from None
        if isinstance(error.cause, RayError):
            raise WorkerLost(f"rows between tasks were lost: {str(error.cause)[:500]}; run it again") from error
        raise EngineFailed(f"a task failed: {str(error.cause)[:500]}") from error
    except OutOfMemoryError as error:
        raise OutOfMemory(f"Ray ended a worker, since the machine's memory was used up: {str(error)[:500]}; allow tasks less") from error
    except RayError as error:
        raise WorkerLost(f"a worker was lost {_RETRIES + 1} times, or the rows that it had: {str(error)[:500]}; run it again") from error
