"""A small engine that runs stages over partitions in this process, one after the other.

It shows what a distributed engine has to do, and no more: a partition is a run of bytes (an Arrow stream), a task is a stage and the bytes
of its inputs, and an exchange is `hashed`. What holds here holds where tasks run elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import duckdb
import pyarrow as pa

from servers.processing.engines.engine import check_inputs
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.exchange import hashed
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.kernels.stage_kernel import stage_rows
from servers.processing.plan.binding import BoundPlan
from servers.processing.stages.cutting import IsSmall, cut
from servers.processing.stages.stage import ExchangeKind, Stage, StageInput
from servers.runtime.duckdb_session import DuckdbLimits, session

Split = Callable[[pa.Table, int], Sequence[pa.Table]]
"""Cuts an input into its first partitions."""


def even_slices(rows: pa.Table, count: int) -> list[pa.Table]:
    """Cuts a table into parts of about the same number of rows."""
    edges = [place * rows.num_rows // count for place in range(count + 1)]
    return [rows.slice(start, end - start) for start, end in pairwise(edges)]


class PartitionedEngine:
    """Runs a plan stage by stage and partition by partition. All rows are held in memory.

    Args:
        limits: Of one task.
        partitions: How many partitions rows are hashed to.
        is_small: Which nodes are broadcast, as in `cut`.
        split: How inputs are cut.
    """

    def __init__(self, limits: DuckdbLimits, partitions: int, is_small: IsSmall = lambda _: False, split: Split = even_slices) -> None:
        self._limits = limits
        self._partitions = partitions
        self._is_small = is_small
        self._split = split

    @contextmanager
    def run(
        self, plan: BoundPlan, inputs: Mapping[str, Relation], cancellation: Cancellation
    ) -> Iterator[Mapping[str, pa.RecordBatchReader]]:
        """Computes all outputs, then lets them be read; see `Engine`."""
        check_inputs(plan, inputs)
        staged = cut(plan, self._is_small)
        known: dict[tuple[bool, str], list[pa.Buffer]] = {}
        for name in plan.sources:
            parts = self._split(_table(inputs[name]), self._partitions)
            known[True, name] = [_written(part.schema, part.to_batches()) for part in parts]
        with session(self._limits) as connection:
            worker = _Worker(connection, self._partitions, cancellation)
            for stage in staged.stages:
                known[False, stage.name] = worker.stage(stage, [known[each.is_scan, each.source] for each in stage.inputs])
        yield {name: pa.RecordBatchReader.from_batches(plan.schema(name), _batches(known[False, name])) for name in staged.outputs}


@dataclass(frozen=True)
class _Worker:
    connection: duckdb.DuckDBPyConnection
    partitions: int
    cancellation: Cancellation

    def stage(self, stage: Stage, inputs: list[list[pa.Buffer]]) -> list[pa.Buffer]:
        """The partitions of a stage, of those of its inputs."""
        count = 1
        if not stage.is_single:
            kept = [len(parts) for each, parts in zip(stage.inputs, inputs, strict=True) if each.exchange.kind is ExchangeKind.KEEP]
            hashes = any(each.exchange.kind is ExchangeKind.HASH for each in stage.inputs)
            count = max([1, *kept, *([self.partitions] if hashes else [])])
        brought = [self._brought(each, parts, count) for each, parts in zip(stage.inputs, inputs, strict=True)]
        return [self._partition(stage, [parts[number] for parts in brought]) for number in range(count)]

    def _partition(self, stage: Stage, inputs: list[pa.Buffer]) -> pa.Buffer:
        rows = stage_rows(stage, [pa.ipc.open_stream(each) for each in inputs], self.connection, self.cancellation)
        return _written(stage.schema, rows)

    def _brought(self, wanted: StageInput, parts: list[pa.Buffer], count: int) -> list[pa.Buffer]:
        """The rows of an input for each partition of a stage."""
        match wanted.exchange.kind:
            case ExchangeKind.KEEP:
                return [*parts, *(_written(wanted.schema, []) for _ in range(count - len(parts)))]
            case ExchangeKind.BROADCAST | ExchangeKind.SINGLE:
                # Those of a scan may have more columns than it names.
                schema = pa.ipc.open_stream(parts[0]).schema if parts else wanted.schema
                return [_written(schema, _batches(parts))] * count
            case ExchangeKind.HASH:
                return self._hashed(wanted, parts)

    def _hashed(self, wanted: StageInput, parts: list[pa.Buffer]) -> list[pa.Buffer]:
        brought: list[list[pa.RecordBatch]] = [[] for _ in range(self.partitions)]
        schema = wanted.schema
        for part in parts:
            rows = pa.ipc.open_stream(part)
            for number, batch in hashed(rows, wanted.exchange.keys, self.partitions, self.connection, self.cancellation):
                brought[number].append(batch)
                schema = batch.schema
        return [_written(schema, batches) for batches in brought]


def _table(relation: Relation) -> pa.Table:
    if isinstance(relation, pa.Table):
        return relation
    return relation.read_all() if isinstance(relation, pa.RecordBatchReader) else relation.to_table()


def _written(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def _batches(parts: Iterable[pa.Buffer]) -> Iterator[pa.RecordBatch]:
    for part in parts:
        yield from pa.ipc.open_stream(part)
