"""Training sets made by processing's engines, from lists of rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from mlops.processing.v1 import plan_pb2 as pb

from servers.processing.engines.engine import Engine
from servers.processing.engines.local import LocalEngine
from servers.processing.engines.partitioned import PartitionedEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan_messages import plan_from_proto
from servers.runtime.duckdb_session import DuckdbLimits

LIMITS = DuckdbLimits(memory_bytes=1 << 30, threads=2)


def local() -> Engine:
    return LocalEngine(LIMITS)


def partitioned(count: int) -> Engine:
    return PartitionedEngine(LIMITS, count)


def bound(plan: pb.Plan, schemas: dict[str, pa.Schema]) -> BoundPlan:
    return bind(plan_from_proto(plan), schemas)


def results(engine: Engine, plan: BoundPlan, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    with engine.run(plan, tables, Cancellation()) as outputs:
        return {name: reader.read_all() for name, reader in outputs.items()}


def rows_of(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """Rows in no order."""
    return counted([tuple(row.values()) for row in table.to_pylist()])


def counted(rows: list[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(tuple(value) if isinstance(value, list) else value for value in row) for row in rows)
