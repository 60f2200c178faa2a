"""Rows as multisets, and plans run on every engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from servers.processing.engines.engine import Engine
from servers.processing.engines.local import LocalEngine
from servers.processing.engines.partitioned import PartitionedEngine, Split, even_slices
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.plan import Plan, Step
from servers.runtime.duckdb_session import DuckdbLimits

LIMITS = DuckdbLimits(memory_bytes=1 << 30, threads=2)
Tables = Mapping[str, pa.Table]
Rows = Counter[tuple[Any, ...]]


def rows_of(table: pa.Table) -> Rows:
    """The rows of a table, however they are ordered; 0.0 and -0.0 are one value, as in SQL."""
    return Counter(tuple(_plain(value) for value in row.values()) for row in table.to_pylist())


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return tuple((key, _plain(each)) for key, each in value.items()) if isinstance(value, dict) else value


def bound(tables: Tables, *steps: Step, outputs: tuple[str, ...] | None = None) -> BoundPlan:
    """The plan of steps, of which the last one is the output."""
    return bind(Plan(steps, outputs or (steps[-1].name,)), {name: table.schema for name, table in tables.items()})


def results(engine: Engine, plan: BoundPlan, inputs: Mapping[str, Any]) -> dict[str, pa.Table]:
    """All rows of all outputs, of which the schemas are those that were bound."""
    with engine.run(plan, inputs, Cancellation()) as outputs:
        tables = {name: reader.read_all() for name, reader in outputs.items()}
    assert {name: table.schema for name, table in tables.items()} == {name: plan.schema(name) for name in plan.outputs}
    return tables


def local(tables: Tables, *steps: Step) -> pa.Table:
    """The rows of the last of some steps, by the local engine."""
    return results(LocalEngine(LIMITS), bound(tables, *steps), tables)[steps[-1].name]


def partitioned(count: int, is_small: Callable[[str], bool] = lambda _: False, split: Split = even_slices) -> PartitionedEngine:
    return PartitionedEngine(LIMITS, count, is_small, split)
