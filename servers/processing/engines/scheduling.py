"""Stages as tasks on a cluster that keeps chunks and runs tasks: Ray and Dask.

A task is started when all chunks that it reads are known, so that none waits inside of itself; chunks are forgotten when their last reader
is done.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from servers.processing.engines.chunks import Chunk, batches_of
from servers.processing.engines.engine import check_inputs
from servers.processing.engines.inputs import placed
from servers.processing.engines.kinds import EngineSettings
from servers.processing.engines.tasks import Task, kernel_limits
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.estimates import InputSize, estimates, smaller_than
from servers.processing.stages.cutting import IsSmall, cut
from servers.processing.stages.stage import ExchangeKind, HashKey, Stage, StagedPlan, StageInput

_LOOKED_AFTER_S = 0.1

Handle: TypeAlias = Any
"""A chunk that a cluster keeps, or a part of a dataset."""
Running: TypeAlias = Any
"""A task that was started."""
Partition: TypeAlias = tuple[Handle, ...]


class Cluster(Protocol):
    """What keeps chunks and runs tasks."""

    def put(self, chunk: pa.Buffer) -> Handle:
        """Keeps a chunk of an input."""
        ...

    def start(self, task: Task, inputs: Sequence[Partition]) -> Running:
        """Starts a task as soon as there is a place."""
        ...

    def finished(self, running: Sequence[Running], timeout_s: float) -> Sequence[Running]:
        """Waits until a task has finished, or for some time, and returns those that have."""
        ...

    def result(self, running: Running) -> Sequence[tuple[int, Handle]]:
        """The chunks of a finished task, with the numbers of their partitions.

        Raises:
            DomainError: What the task raised, or that its worker was lost.
        """
        ...

    def fetch(self, handle: Handle) -> Chunk:
        """Brings a chunk here."""
        ...

    def stop(self, running: Sequence[Running]) -> None:
        """Ends tasks, also those that compute."""
        ...


class ClusterEngine:
    """Runs plans as tasks.

    Args:
        settings: Limits.
        on_cluster: What keeps the chunks of one run and runs its tasks.
    """

    def __init__(self, settings: EngineSettings, on_cluster: Callable[[], contextlib.AbstractContextManager[Cluster]]) -> None:
        self._settings = settings
        self._on_cluster = on_cluster

    @contextmanager
    def run(
        self, plan: BoundPlan, inputs: Mapping[str, Relation], cancellation: Cancellation
    ) -> Iterator[Mapping[str, pa.RecordBatchReader]]:
        """Computes all outputs, which stay on the cluster and are brought chunk by chunk; see `Engine`."""
        check_inputs(plan, inputs)
        with self._on_cluster() as cluster:
            chunks: dict[str, tuple[Partition, ...]] = {}
            sizes: dict[str, InputSize] = {}
            for name in plan.sources:
                put = placed(inputs[name], self._settings.chunk_bytes, cluster.put, cancellation)
                chunks[name], sizes[name] = tuple((chunk,) for chunk in put.chunks), put.size
            staged = cut(plan, small_nodes(plan, sizes, self._settings))
            run = _Run(staged, chunks, self._settings, cluster, cancellation)
            run.finish()

            def rows(name: str) -> Iterator[pa.RecordBatch]:
                for partition in run.partitions(name):
                    for handle in partition:
                        cancellation.check()
                        yield from batches_of(cluster.fetch(handle))

            yield {name: pa.RecordBatchReader.from_batches(plan.schema(name), rows(name)) for name in staged.outputs}


def small_nodes(plan: BoundPlan, sizes: Mapping[str, InputSize], settings: EngineSettings) -> IsSmall:
    """Which nodes are likely to be small enough to be given to every partition."""
    return smaller_than(settings.broadcast_bytes, estimates(plan, sizes))


def partition_count(stage: Stage, kept: Sequence[int], partitions: int) -> int:
    """How many partitions a stage has.

    Args:
        stage: The stage.
        kept: How many partitions its inputs have that are not moved.
        partitions: How many an exchange makes.
    """
    if stage.is_single:
        return 1
    hashes = any(each.exchange.kind is ExchangeKind.HASH for each in stage.inputs)
    return max([1, *kept, *([partitions] if hashes else [])])


@dataclass(frozen=True)
class _Place:
    """Where rows are: an input, a stage's rows, or one of them moved by keys."""

    is_scan: bool
    source: str
    keys: tuple[HashKey, ...] = ()


@dataclass
class _Work:
    """Tasks that make one place's rows of those of others."""

    result: _Place
    stage: Stage | None
    reads: tuple[tuple[_Place, StageInput], ...]
    results: dict[int, Sequence[tuple[int, Handle]]] = field(default_factory=dict)
    count: int = 0


class _Run:
    def __init__(
        self,
        staged: StagedPlan,
        inputs: Mapping[str, tuple[Partition, ...]],
        settings: EngineSettings,
        cluster: Cluster,
        cancellation: Cancellation,
    ) -> None:
        self._staged = staged
        self._settings = settings
        self._cluster = cluster
        self._cancellation = cancellation
        self._known: dict[_Place, Sequence[Partition]] = {_Place(True, name): partitions for name, partitions in inputs.items()}
        self._waiting = self._works()
        self._readers = Counter(place for work in self._waiting for place, _ in work.reads)
        self._readers.update(_Place(False, name) for name in staged.outputs)
        self._running: dict[Running, tuple[_Work, int]] = {}

    def finish(self) -> None:
        """Runs everything.

        Raises:
            DomainError: The first failure; the other tasks are stopped then.
        """
        try:
            while self._waiting or self._running:
                self._start_ready()
                self._cancellation.check()
                for running in self._cluster.finished(list(self._running), _LOOKED_AFTER_S):
                    work, number = self._running[running]
                    work.results[number] = self._cluster.result(running)
                    del self._running[running]
                    if len(work.results) == work.count:
                        self._collect(work)
        except BaseException:
            self._cluster.stop(list(self._running))
            raise

    def partitions(self, output: str) -> Sequence[Partition]:
        """The chunks of an output."""
        return self._known[_Place(False, output)]

    def _works(self) -> list[_Work]:
        """One piece of work a stage and a way in which rows are moved; a stage whose rows are only moved does that itself."""
        readers: dict[_Place, list[_Place]] = {}
        for stage in self._staged.stages:
            for each in stage.inputs:
                readers.setdefault(_Place(each.is_scan, each.source), []).append(_place(each))
        found: dict[_Place, _Work] = {}
        for stage in self._staged.stages:
            for each in stage.inputs:
                place = _place(each)
                if each.exchange.kind is ExchangeKind.HASH and place not in found:
                    found[place] = _Work(place, None, ((_Place(each.is_scan, each.source), each),))
            result = _Place(False, stage.name)
            moved = set(readers.get(result, []))
            if len(moved) == 1 and result not in moved and stage.name not in self._staged.outputs:
                result = moved.pop()
            found[result] = _Work(result, stage, tuple((_place(each), each) for each in stage.inputs))
        return list(found.values())

    def _start_ready(self) -> None:
        for work in list(self._waiting):
            if all(place in self._known for place, _ in work.reads):
                self._waiting.remove(work)
                self._start(work)

    def _start(self, work: _Work) -> None:
        given = [self._known[place] for place, _ in work.reads]
        if work.stage is None:
            work.count = len(given[0])
            brought: list[Sequence[Partition]] = [given[0]]
        else:
            kept = [len(its) for its, (_, each) in zip(given, work.reads, strict=True) if each.exchange.kind is ExchangeKind.KEEP]
            work.count = partition_count(work.stage, kept, self._settings.partitions)
            brought = [_brought(each.exchange.kind, its, work.count) for its, (_, each) in zip(given, work.reads, strict=True)]
        task = Task(
            work.stage,
            tuple(each.schema for _, each in work.reads),
            work.result.keys,
            self._settings.partitions,
            kernel_limits(self._settings),
            self._settings.chunk_bytes,
        )
        for number in range(work.count):
            self._running[self._cluster.start(task, [its[number] for its in brought])] = (work, number)
        if not work.count:
            self._collect(work)

    def _collect(self, work: _Work) -> None:
        ordered = [work.results[number] for number in range(work.count)]
        if work.result.keys:
            moved: list[list[Handle]] = [[] for _ in range(self._settings.partitions)]
            for number, handle in (each for result in ordered for each in result):
                moved[number].append(handle)
            self._known[work.result] = [tuple(handles) for handles in moved]
        else:
            self._known[work.result] = [tuple(handle for _, handle in result) for result in ordered]
        work.results.clear()
        for place, _ in work.reads:
            self._readers[place] -= 1
            if not self._readers[place]:
                del self._known[place]


def _place(wanted: StageInput) -> _Place:
    """Where a stage finds the rows of an input."""
    return _Place(wanted.is_scan, wanted.source, wanted.exchange.keys if wanted.exchange.kind is ExchangeKind.HASH else ())


def _brought(kind: ExchangeKind, partitions: Sequence[Partition], count: int) -> Sequence[Partition]:
    """The chunks of an input for each partition of a stage."""
    match kind:
        case ExchangeKind.KEEP:
            return [*partitions, *[()] * (count - len(partitions))]
        case ExchangeKind.BROADCAST | ExchangeKind.SINGLE:
            return [tuple(handle for partition in partitions for handle in partition)] * count
        case ExchangeKind.HASH:
            return partitions
