"""Spark: stages are steps of RDDs of chunks, exchanges are Spark's shuffle, inputs, broadcasts and outputs are files.

Files, since Spark's own ways from and to the driver (`parallelize`, `broadcast`, `collect`, `toLocalIterator`) hold whole partitions, or
all rows, in the driver's JVM. RDDs of bytes and no DataFrames, since Spark has not all of Arrow's types.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

import pyarrow as pa
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import Accumulator, AccumulatorParam, SparkConf, SparkContext, StorageLevel
from pyspark.errors import PySparkException
from pyspark.rdd import RDD

from servers.processing.engines.chunks import Chunk, ChunkFile, batches_of, write_file
from servers.processing.engines.engine import check_inputs
from servers.processing.engines.errors import EngineUnreachable, WorkerLost
from servers.processing.engines.inputs import placed
from servers.processing.engines.kinds import EngineSettings
from servers.processing.engines.scheduling import partition_count, small_nodes
from servers.processing.engines.tasks import Task, kernel_limits, task_chunks
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import EngineFailed
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.estimates import InputSize
from servers.processing.stages.cutting import cut
from servers.processing.stages.stage import ExchangeKind, HashKey, Stage, StageInput
from servers.runtime.errors import DomainError

Result = TypeVar("Result")
Moved: TypeAlias = tuple[int, tuple[int, bytes]]
"""A chunk on its way: the number of its partition, which input it belongs to, and the rows."""

_ATTEMPTS = 4
"""How often a task may lose its worker."""
_LOOKED_AFTER_S = 0.1
_ENDS_WITHIN_S = 20
_LEAST_HEAP_BYTES = 512 << 20
_MOST_CHUNK_BYTES = 4 << 20
"""Spark's shuffle gathers chunks by their number, not by their size."""


@contextmanager
def spark_engine(settings: EngineSettings) -> Iterator[SparkEngine]:
    """Connects to a Spark master, or starts Spark on this machine.

    Raises:
        EngineUnreachable: UNAVAILABLE: the master does not answer, or Java cannot be started.
    """
    try:
        context = SparkContext(conf=SparkConf().setAll(list(_options(settings).items())))
    except (PySparkException, Py4JError, OSError, ValueError) as error:
        _end_java()
        where = settings.address or "on this machine"
        raise EngineUnreachable(f"Spark {where} cannot be used: {str(error)[:500]}") from error
    try:
        yield SparkEngine(context, replace(settings, chunk_bytes=min(settings.chunk_bytes, _MOST_CHUNK_BYTES)))
    finally:
        context.stop()
        _end_java()


def _options(settings: EngineSettings) -> Mapping[str, str]:
    common = {
        "spark.app.name": "mlmesh-processing",
        "spark.log.level": "OFF",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.task.maxFailures": str(_ATTEMPTS),
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
    }
    if settings.address:
        return {**common, "spark.master": settings.address}
    return {
        **common,
        "spark.master": f"local[{settings.workers},{_ATTEMPTS}]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": f"{max(settings.store_bytes, _LEAST_HEAP_BYTES) >> 20}m",
        "spark.local.dir": str(settings.spill_folder),
        "spark.pyspark.python": sys.executable,
    }


def _end_java() -> None:
    """Ends the JVM, which PySpark leaves running until this process ends."""
    gateway: Any = SparkContext._gateway
    if gateway is None:
        return
    SparkContext._gateway = SparkContext._jvm = None
    with suppress(Py4JError, OSError):
        gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        # The JVM ends with its standard input.
        process.stdin.close()
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class SparkEngine:
    """Runs plans as jobs of Spark.

    Args:
        context: Of its own.
        settings: Limits.
    """

    def __init__(self, context: SparkContext, settings: EngineSettings) -> None:
        self._context = context
        self._settings = settings

    @contextmanager
    def run(
        self, plan: BoundPlan, inputs: Mapping[str, Relation], cancellation: Cancellation
    ) -> Iterator[Mapping[str, pa.RecordBatchReader]]:
        """Computes all outputs into files, then lets them be read; see `Engine`."""
        check_inputs(plan, inputs)
        with ExitStack() as stack:
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="files-", dir=self._settings.spill_folder, ignore_cleanup_errors=True)
                )
            )
            chunks: dict[str, Sequence[Chunk]] = {}
            sizes: dict[str, InputSize] = {}
            for name in plan.sources:
                put = placed(inputs[name], self._settings.chunk_bytes, lambda chunk: write_file(chunk, folder), cancellation)
                chunks[name], sizes[name] = put.chunks, put.size
            jobs = stack.enter_context(_Jobs(self._context, cancellation))
            staged = cut(plan, small_nodes(plan, sizes, self._settings))
            readers = Counter(each.source for stage in staged.stages for each in stage.inputs if not each.is_scan)
            readers.update(staged.outputs)
            run = _Run(chunks, self._settings, folder, jobs)
            for stage in staged.stages:
                run.add(stage, is_kept=readers[stage.name] > 1)
            stack.callback(run.forget)
            files = {name: run.files(name) for name in staged.outputs}

            def rows(name: str) -> Iterator[pa.RecordBatch]:
                for file in files[name]:
                    cancellation.check()
                    yield from batches_of(file)

            yield {name: pa.RecordBatchReader.from_batches(plan.schema(name), rows(name)) for name in staged.outputs}


class _Run:
    """The stages of a run as RDDs of chunks."""

    def __init__(self, inputs: Mapping[str, Sequence[Chunk]], settings: EngineSettings, folder: Path, jobs: _Jobs) -> None:
        self._inputs = inputs
        self._settings = settings
        self._folder = folder
        self._jobs = jobs
        self._context = jobs.context
        self._stages: dict[str, RDD[bytes]] = {}
        self._files: dict[str, tuple[ChunkFile, ...]] = {}

    def add(self, stage: Stage, is_kept: bool) -> None:
        """Says how a stage is computed, and runs those that it wants in all of its partitions."""
        files: dict[int, Sequence[Sequence[Chunk]]] = {}
        streams: dict[int, StageInput] = {}
        for place, each in enumerate(stage.inputs):
            if each.is_scan and each.exchange.kind is ExchangeKind.KEEP:
                files[place] = [(chunk,) for chunk in self._inputs[each.source]]
            elif each.exchange.kind is ExchangeKind.BROADCAST or (each.is_scan and each.exchange.kind is ExchangeKind.SINGLE):
                files[place] = [self._inputs[each.source] if each.is_scan else self.files(each.source)]
            else:
                streams[place] = each
        kept = [len(files[place]) for place, each in enumerate(stage.inputs) if place in files and each.exchange.kind is ExchangeKind.KEEP]
        kept += [self._stages[each.source].getNumPartitions() for each in streams.values() if each.exchange.kind is ExchangeKind.KEEP]
        count = partition_count(stage, kept, self._settings.partitions)
        for place, each in enumerate(stage.inputs):
            if place in files and each.exchange.kind is not ExchangeKind.KEEP:
                files[place] = [*files[place]] * count
        work = _OnPartition(self._task(stage, stage.inputs), files, tuple(streams), self._jobs.errors)
        given, is_moved = self._given(streams, count)
        rows = given.mapPartitionsWithIndex(replace(work, is_moved=is_moved))
        self._stages[stage.name] = rows.persist(StorageLevel.DISK_ONLY) if is_kept else rows

    def files(self, name: str) -> tuple[ChunkFile, ...]:
        """Computes a stage into files."""
        if name not in self._files:
            rows = self._stages[name].mapPartitions(_Written(str(self._folder), self._jobs.errors))
            self._files[name] = tuple(ChunkFile(path) for path in self._jobs.run(rows.collect))
        return self._files[name]

    def forget(self) -> None:
        """Lets Spark forget what it kept."""
        for rows in self._stages.values():
            if rows.is_cached:
                with suppress(Py4JError):
                    rows.unpersist()

    def _given(self, streams: Mapping[int, StageInput], count: int) -> tuple[RDD[Any], bool]:
        """What a stage's partitions read besides files, and whether it was moved to them."""
        if not streams:
            return self._context.parallelize(range(count), count), False
        if len(streams) == 1:
            (only,) = streams.values()
            if only.exchange.kind is ExchangeKind.KEEP and self._stages[only.source].getNumPartitions() == count:
                return self._stages[only.source], False
        return self._context.union([self._moved(place, each) for place, each in streams.items()]).partitionBy(count, int), True

    def _moved(self, place: int, wanted: StageInput) -> RDD[Moved]:
        if wanted.exchange.kind is not ExchangeKind.HASH:
            is_single = wanted.exchange.kind is ExchangeKind.SINGLE
            return self._stages[wanted.source].mapPartitionsWithIndex(_Addressed(place, is_single))
        task = self._task(None, (wanted,), wanted.exchange.keys)
        if wanted.is_scan:
            chunks = self._inputs[wanted.source]
            count = max(1, len(chunks))
            work = _OnPartition(task, {0: [(chunk,) for chunk in chunks]}, (), self._jobs.errors, moves_to=place)
            return self._context.parallelize(range(count), count).mapPartitionsWithIndex(work)
        return self._stages[wanted.source].mapPartitionsWithIndex(_OnPartition(task, {}, (0,), self._jobs.errors, moves_to=place))

    def _task(self, stage: Stage | None, inputs: Sequence[StageInput], keys: tuple[HashKey, ...] = ()) -> Task:
        settings = self._settings
        return Task(stage, tuple(each.schema for each in inputs), keys, settings.partitions, kernel_limits(settings), settings.chunk_bytes)


class _Jobs:
    """Runs jobs that end when somebody cancels or a task has failed.

    A task says what went wrong through an accumulator: what it would raise comes here as text, and is tried again before that.
    """

    def __init__(self, context: SparkContext, cancellation: Cancellation) -> None:
        self.context = context
        self.errors: Accumulator[list[DomainError]] = context.accumulator([], _Errors())
        self._cancellation = cancellation
        self._tag = uuid4().hex
        # Tags belong to a thread.
        self._thread = ThreadPoolExecutor(1, initializer=self._begin)

    def __enter__(self) -> _Jobs:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def run(self, job: Callable[[], Result]) -> Result:
        """Runs one job.

        Raises:
            DomainError: The first that a task met; Cancelled; or WorkerLost.
        """
        self._cancellation.check()
        running = self._thread.submit(job)
        while wait([running], _LOOKED_AFTER_S).not_done:
            if self._cancellation.is_cancelled or self.errors.value:
                with suppress(Py4JError):
                    self.context.cancelJobsWithTag(self._tag)
        self._cancellation.check()
        if self.errors.value:
            raise self.errors.value[0]
        try:
            return running.result()
        except (Py4JError, PySparkException) as error:
            raise _typed(error) from error

    def _begin(self) -> None:
        self.context.addJobTag(self._tag)
        self.context.setInterruptOnCancel(True)


class _Errors(AccumulatorParam[list[DomainError]]):  # type: ignore[misc]  # Spark is not installed where types are checked
    def zero(self, value: list[DomainError]) -> list[DomainError]:  # noqa: ARG002
        return []

    def addInPlace(self, value1: list[DomainError], value2: list[DomainError]) -> list[DomainError]:  # noqa: N802
        return value1 + value2


@dataclass(frozen=True)
class _OnPartition:
    """Runs a task on a partition of an RDD.

    Args:
        task: What to do.
        files: Chunks of inputs that are files, for each partition; partitions beyond get none.
        streams: Inputs that the RDD has.
        errors: Told what went wrong.
        is_moved: Whether the RDD's chunks have been moved, and say which input they belong to.
        moves_to: The input that the result is of, if it is to be moved.
    """

    task: Task
    files: Mapping[int, Sequence[Sequence[Chunk]]]
    streams: tuple[int, ...]
    errors: Accumulator[list[DomainError]]
    is_moved: bool = False
    moves_to: int | None = None

    def __call__(self, number: int, rows: Iterator[Any]) -> Iterator[bytes | Moved]:
        with _told(self.errors), ExitStack() as stack:
            inputs: dict[int, Iterable[Chunk]] = {place: its[number] if number < len(its) else () for place, its in self.files.items()}
            if len(self.streams) > 1:
                inputs |= _sorted_out(rows, self.streams, stack)
            elif self.streams:
                inputs[self.streams[0]] = (chunk for _, (_, chunk) in rows) if self.is_moved else rows
            ordered = [inputs[place] for place in range(len(self.task.schemas))]
            for partition, chunk in task_chunks(self.task, ordered, Cancellation()):
                yield chunk.to_pybytes() if self.moves_to is None else (partition, (self.moves_to, chunk.to_pybytes()))


def _sorted_out(rows: Iterator[Moved], places: Sequence[int], stack: ExitStack) -> Mapping[int, Iterator[Chunk]]:
    """Chunks of several inputs, which come in any order, each input in a file, since DuckDB reads one after the other."""
    files = {place: stack.enter_context(tempfile.TemporaryFile()) for place in places}  # noqa: SIM115 (the stack closes them)
    sizes: dict[int, list[int]] = {place: [] for place in places}
    for _, (place, chunk) in rows:
        files[place].write(chunk)
        sizes[place].append(len(chunk))

    def read(place: int) -> Iterator[Chunk]:
        files[place].seek(0)
        for size in sizes[place]:
            yield files[place].read(size)

    return {place: read(place) for place in places}


@dataclass(frozen=True)
class _Addressed:
    """Sends chunks to the partition with the number of theirs, or all to the first."""

    place: int
    is_single: bool

    def __call__(self, number: int, chunks: Iterator[bytes]) -> Iterator[Moved]:
        return ((0 if self.is_single else number, (self.place, chunk)) for chunk in chunks)


@dataclass(frozen=True)
class _Written:
    """Writes chunks into files."""

    folder: str
    errors: Accumulator[list[DomainError]]

    def __call__(self, chunks: Iterator[bytes]) -> Iterator[str]:
        with _told(self.errors):
            for chunk in chunks:
                yield write_file(chunk, Path(self.folder)).path


@contextmanager
def _told(errors: Accumulator[list[DomainError]]) -> Iterator[None]:
    try:
        yield
    except DomainError as error:
        errors.add([error])
    except Exception as error:
        errors.add([EngineFailed(f"a task failed: {type(error).__name__}: {str(error)[:500]}")])


def _typed(error: Exception) -> DomainError:
    words = str(error.java_exception) if isinstance(error, Py4JJavaError) else str(error)
    if any(each in words for each in ("Python worker", "ExecutorLost", "FetchFailed", "executor driver")) or not isinstance(
        error, Py4JJavaError | PySparkException
    ):
        return WorkerLost(f"a worker was lost {_ATTEMPTS} times, or Spark's JVM ended: {words[:500]}; run it again")
    return EngineFailed(f"Spark failed: {words[:500]}")
