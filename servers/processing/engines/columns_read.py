"""Which columns of its inputs a plan reads, as DuckDB's optimiser finds for the statements that the plan becomes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import duckdb
import pyarrow as pa

from servers.processing.engines.local import PlanRun
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan
from servers.runtime.duckdb_session import DuckdbLimits, session

_LIMITS = DuckdbLimits(memory_bytes=256 << 20, threads=1)
_SCAN = "PYTHON_ARROW_SCAN"


def columns_read(plan: BoundPlan) -> Mapping[str, tuple[str, ...]]:
    """Returns the columns of each input that outputs depend on, at least one of each input, in the order of its schema.

    Inputs are not told apart: what is read of one is read of all that have a column of the name.

    Args:
        plan: What is computed, by whatever engine.
    """
    names = {column for schema in plan.sources.values() for column in schema.names}
    between = {column.name for name in plan.nodes for column in (*plan.select_columns(name), *plan.nodes[name].columns)}
    read = _projected(plan)
    # DuckDB tells of columns a line each. Where it cannot be understood, all of them matter.
    if not read <= names | between or any("\n" in name for name in names | between):
        read = names
    found = {name: tuple(column for column in schema.names if column in read) for name, schema in plan.sources.items()}
    return {name: columns or (plan.sources[name].names[0],) for name, columns in found.items()}


def _projected(plan: BoundPlan) -> set[str]:
    with ExitStack() as stack:
        connection = stack.enter_context(session(_LIMITS))
        run = _Planned(plan, connection, stack)
        run.keep_shared()
        for output in plan.outputs:
            for _ in run.output(output):
                pass
    return run.columns


class _Planned(PlanRun):
    """A run over empty inputs, whose statements are planned, and executed only where others read their result."""

    def __init__(self, plan: BoundPlan, connection: duckdb.DuckDBPyConnection, stack: ExitStack) -> None:
        empty = {name: schema.empty_table() for name, schema in plan.sources.items()}
        super().__init__(plan, empty, connection, Cancellation(), stack)
        self.columns: set[str] = set()

    def _selected(
        self, sql: str, relations: Mapping[str, Relation], steps: tuple[str, ...], schema: pa.Schema | None, table: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        scans = self._scans(sql, relations)
        if relations and not scans:
            # Nothing is read, or DuckDB says it in another way; what is wrong with the statement is said where it is executed.
            scans = [column.name for relation in relations.values() for column in relation.schema]
        for projected in scans:
            self.columns |= {projected} if isinstance(projected, str) else set(projected)
        return iter(()) if table is None else super()._selected(sql, relations, steps, schema, table)

    def _scans(self, sql: str, relations: Mapping[str, Relation]) -> list[Any]:
        """What each scan of a statement projects: a column, or several."""
        with self._connection.cursor() as cursor:
            for name, relation in relations.items():
                cursor.register(name, pa.RecordBatchReader.from_batches(relation.schema, []))
            try:
                ((_, planned),) = cursor.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()
            except duckdb.Error:
                return []
        return [each["extra_info"]["Projections"] for each in _operators(json.loads(planned)) if each["name"] == _SCAN]


def _operators(plans: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for plan in plans:
        yield plan
        yield from _operators(plan["children"])
