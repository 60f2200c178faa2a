"""DuckDB in this process: a plan is one statement an output, as far as it can be.

Rows that several statements need are computed once and kept in the database, which spills them; the rest streams from the inputs' batches
to the outputs'. A Python function stands between the statement before and the one after it and streams, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from servers.processing.engines.engine import check_inputs
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.python_kernel import applied
from servers.processing.kernels.sql_kernel import Relation, selected
from servers.processing.plan.binding import BoundNode, BoundPlan
from servers.processing.plan.nodes import PythonFunction, Scan, inputs_of
from servers.processing.stages.compiling import Place, compiled, leaving, places
from servers.runtime.duckdb_session import DuckdbLimits, session
from servers.runtime.errors import DomainError
from servers.runtime.sql_names import quoted


class LocalEngine:
    """Runs plans in this process.

    Args:
        limits: Of one run.
    """

    def __init__(self, limits: DuckdbLimits) -> None:
        self._limits = limits

    @contextmanager
    def run(
        self, plan: BoundPlan, inputs: Mapping[str, Relation], cancellation: Cancellation
    ) -> Iterator[Mapping[str, pa.RecordBatchReader]]:
        """Computes outputs while they are read, and before that what several of them need; see `Engine`."""
        check_inputs(plan, inputs)
        with ExitStack() as stack:
            connection = stack.enter_context(session(self._limits))
            run = PlanRun(plan, inputs, connection, cancellation, stack)
            run.keep_shared()
            yield {name: run.output(name) for name in plan.outputs}


@dataclass(frozen=True)
class Statements:
    """Which statements a plan becomes.

    Args:
        roots: Nodes whose rows are the result of a statement of their own, each after those that it reads.
        kept: Those of them that are kept, since several statements read them.
    """

    roots: tuple[str, ...]
    kept: frozenset[str]


def statements_of(plan: BoundPlan) -> Statements:
    """Divides a plan into statements: at Python functions, and at what several statements read."""
    readers: dict[str, set[str]] = {name: set() for name in plan.nodes}
    for output in plan.outputs:
        # The statement that reads an output is that of the node itself, if nothing else does.
        readers[output].add(f"output {output}")
    roots, kept = [], set()
    for name in reversed(tuple(plan.nodes)):
        bound = plan.nodes[name]
        is_shared = len(readers[name]) > 1 and not isinstance(bound.node, Scan)
        if is_shared:
            kept.add(name)
        if is_shared or isinstance(bound.node, PythonFunction) or name in plan.outputs:
            roots.append(name)
        statements = {name} if name in roots else readers[name]
        for each in inputs_of(bound.node):
            readers[each] |= statements
    return Statements(tuple(reversed(roots)), frozenset(kept))


class PlanRun:
    """One run of a plan: which statements it becomes, over which relations."""

    def __init__(
        self,
        plan: BoundPlan,
        inputs: Mapping[str, Relation],
        connection: duckdb.DuckDBPyConnection,
        cancellation: Cancellation,
        stack: ExitStack,
    ) -> None:
        self._plan = plan
        self._inputs = inputs
        self._connection = connection
        self._cancellation = cancellation
        self._stack = stack
        self._statements = statements_of(plan)
        # What inputs and Python functions raised: DuckDB only keeps the words.
        self._failures: list[Exception] = []
        reads = Counter(bound.node.source for root in self._statements.roots for bound in self._nodes(root) if isinstance(bound.node, Scan))
        self._kept_sources = {name for name, count in reads.items() if count > 1 and isinstance(inputs[name], pa.RecordBatchReader)}

    def keep_shared(self) -> None:
        """Computes what several statements read."""
        for name in sorted(self._kept_sources):
            self._keep(_kept_source(name), f"SELECT * FROM {quoted(_source(name))}", {_source(name): self._source_rows(name)}, ())
        for root in self._statements.roots:
            if root not in self._statements.kept:
                continue
            bound = self._plan.nodes[root]
            if isinstance(bound.node, PythonFunction):
                self._keep(
                    _kept(root),
                    f"SELECT * FROM {quoted(_streamed(root))}",
                    {_streamed(root): self._stream(bound.schema, self._rows(root))},
                    (root,),
                )
            else:
                self._keep(_kept(root), *self._statement(root))

    def output(self, name: str) -> pa.RecordBatchReader:
        """The rows of an output."""
        schema = self._plan.schema(name)
        if name in self._statements.kept:
            sql = leaving(f"SELECT * FROM {quoted(_kept(name))}", self._plan.nodes[name].columns)
            rows: Iterator[pa.RecordBatch] = self._selected(sql, {}, (name,), schema)
        else:
            rows = self._rows(name)
        return pa.RecordBatchReader.from_batches(schema, self._with_first_failure(rows))

    def _rows(self, root: str) -> Iterator[pa.RecordBatch]:
        bound = self._plan.nodes[root]
        sql, given, steps = self._statement(root)
        rows = self._selected(leaving(sql, self._plan.select_columns(root)), given, steps, self._plan.select_schema(root))
        return applied(bound.node, rows, bound.schema, self._cancellation) if isinstance(bound.node, PythonFunction) else rows

    def _statement(self, root: str) -> tuple[str, dict[str, Relation], tuple[str, ...]]:
        """The SELECT that computes a root, the relations that it reads and the steps in it."""
        nodes = self._nodes(root)
        within = {bound.node.name for bound in nodes}
        relations: dict[Place, str] = {}
        given: dict[str, Relation] = {}
        for bound in nodes:
            for place in places(bound):
                if isinstance(bound.node, Scan):
                    relations[place] = self._read_source(bound.node.source, given)
                elif (name := inputs_of(bound.node)[place[1]]) not in within or self._is_boundary(name):
                    relations[place] = self._read_root(name, given)
        streams = {name for name, relation in given.items() if isinstance(relation, pa.RecordBatchReader)}
        sql = compiled(nodes, {place: quoted(name) for place, name in relations.items()}, {quoted(name) for name in streams})
        return sql, given, tuple(bound.node.name for bound in nodes)

    def _read_source(self, source: str, given: dict[str, Relation]) -> str:
        if source in self._kept_sources:
            return _kept_source(source)
        if _source(source) not in given:
            given[_source(source)] = self._source_rows(source)
        return _source(source)

    def _read_root(self, name: str, given: dict[str, Relation]) -> str:
        if name in self._statements.kept:
            return _kept(name)
        if _streamed(name) not in given:
            given[_streamed(name)] = self._stream(self._plan.nodes[name].schema, self._rows(name))
        return _streamed(name)

    def _nodes(self, root: str) -> tuple[BoundNode, ...]:
        """The nodes of a statement, each after those that it reads."""
        found, waiting = {root}, list(inputs_of(self._plan.nodes[root].node))
        while waiting:
            name = waiting.pop()
            if name not in found and not self._is_boundary(name):
                found.add(name)
                waiting += inputs_of(self._plan.nodes[name].node)
        return tuple(bound for name, bound in self._plan.nodes.items() if name in found)

    def _is_boundary(self, name: str) -> bool:
        return name in self._statements.kept or isinstance(self._plan.nodes[name].node, PythonFunction)

    def _source_rows(self, name: str) -> Relation:
        relation = self._inputs[name]
        return self._stream(relation.schema, relation) if isinstance(relation, pa.RecordBatchReader) else relation

    def _stream(self, schema: pa.Schema, rows: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
        def recorded() -> Iterator[pa.RecordBatch]:
            try:
                yield from rows
            except Exception as error:
                self._failures.append(error)
                raise

        return pa.RecordBatchReader.from_batches(schema, recorded())

    def _keep(self, table: str, sql: str, relations: Mapping[str, Relation], steps: tuple[str, ...]) -> None:
        for _ in self._with_first_failure(self._selected(sql, relations, steps, None, table)):
            pass

    def _selected(
        self, sql: str, relations: Mapping[str, Relation], steps: tuple[str, ...], schema: pa.Schema | None, table: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        cursor = self._connection.cursor()
        self._stack.callback(cursor.close)
        text = sql if table is None else f"CREATE TABLE {quoted(table)} AS {sql}"
        rows = selected(cursor, text, relations, schema, steps, self._cancellation)
        self._stack.callback(rows.close)
        return rows

    def _with_first_failure(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except DomainError as error:
            self._cancellation.check()
            if self._failures:
                raise self._failures[0] from error
            raise


def _source(name: str) -> str:
    return f"source_{name}"


def _kept_source(name: str) -> str:
    return f"source_kept_{name}"


def _kept(name: str) -> str:
    return f"kept_{name}"


def _streamed(name: str) -> str:
    return f"streamed_{name}"
