"""The type of every column of a plan, before anything runs: DuckDB binds each node's SELECT to empty relations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from servers.processing.plan.errors import (
    DuplicateColumn,
    InvalidExpression,
    InvalidPlan,
    InvalidStep,
    PlanTooLarge,
    TypeMismatch,
    UnknownInput,
    UnsupportedType,
    near,
    shown,
)
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.lowering import lowered
from servers.processing.plan.nodes import Aggregate, AsOfJoin, Node, PythonFunction, Scan, TypedColumn, inputs_of
from servers.processing.plan.plan import Plan, in_order
from servers.processing.plan.selects import KEY_NUMBER, Columns, Select, select_of
from servers.processing.plan.types import TRAVELLING, normal_type, travelling_field
from servers.runtime.duckdb_session import locked_down
from servers.runtime.sql_names import folded, is_column_name, quoted

_CARET = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_CANDIDATES = re.compile(r"\n.*Candidate functions:.*|\nYou might need to add explicit type casts.*", re.DOTALL)


@dataclass(frozen=True)
class BoundNode:
    """A node that is known to be right.

    Args:
        node: With no steps above the core left.
        select: Its SELECT.
        columns: Of its result.
        schema: The same as Arrow, where its rows leave a statement.
    """

    node: Node
    select: Select
    columns: Columns
    schema: pa.Schema


@dataclass(frozen=True)
class BoundPlan:
    """A plan that can be run.

    Args:
        nodes: Each after those that it reads, by name.
        outputs: Names of the nodes whose rows are wanted.
        sources: Arrow schemas of the inputs that are read, as they are given.
    """

    nodes: Mapping[str, BoundNode]
    outputs: tuple[str, ...]
    sources: Mapping[str, pa.Schema]

    def schema(self, output: str) -> pa.Schema:
        """The exact Arrow schema of an output."""
        return self.nodes[output].schema

    def select_columns(self, name: str) -> Columns:
        """The columns of a node's SELECT; for a Python function that is what the function is given."""
        bound = self.nodes[name]
        if not isinstance(bound.node, PythonFunction):
            return bound.columns
        given = self.nodes[bound.node.input].columns
        return (*given, TypedColumn(KEY_NUMBER, "BIGINT")) if bound.node.partition_by else given

    def select_schema(self, name: str) -> pa.Schema:
        """The Arrow schema of what leaves a node's SELECT."""
        return pa.schema([travelling_field(column.name, column.type) for column in self.select_columns(name)])


def bind(plan: Plan, sources: Mapping[str, pa.Schema], limits: PlanLimits | None = None) -> BoundPlan:
    """Checks a plan against the schemas of its inputs.

    Args:
        plan: Steps and outputs.
        sources: Schema of each input of the job.
        limits: How large a plan may be.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: the step that is wrong, and why.
    """
    limits = limits or PlanLimits()
    steps = in_order(plan, limits)
    with locked_down() as connection:
        binder = _Binder(connection, sources, limits)
        for step in steps:
            with _of_step(step.name):
                for node in lowered(step, binder.columns, limits):
                    binder.add(node)
        read = {node.node.source: sources[node.node.source] for node in binder.nodes.values() if isinstance(node.node, Scan)}
    return BoundPlan(binder.nodes, plan.outputs, read)


class _Binder:
    def __init__(self, connection: duckdb.DuckDBPyConnection, sources: Mapping[str, pa.Schema], limits: PlanLimits) -> None:
        self._connection = connection
        self._sources = sources
        self._limits = limits
        self._known: dict[str, Columns] = {}
        self.nodes: dict[str, BoundNode] = {}

    def columns(self, name: str) -> Columns:
        return self.nodes[name].columns

    def add(self, node: Node) -> None:
        if isinstance(node, Scan):
            self._add(node, (self._source(node.source),), (_source_relation(node.source),))
            return
        if isinstance(node, PythonFunction):
            node = self._checked_function(node)
        inputs = inputs_of(node)
        self._add(node, tuple(self.columns(name) for name in inputs), tuple(map(_relation, inputs)))

    def _add(self, node: Node, inputs: Sequence[Columns], relations: Sequence[str]) -> None:
        select = select_of(node, inputs, self._limits, self._unique(node))
        result = self._types(select.template.over(*relations), select.names)
        columns = node.schema if isinstance(node, PythonFunction) else result
        for column in columns:
            if '"NULL"' in column.type:
                raise TypeMismatch(
                    f"column {shown(column.name)} is nothing but NULL, which has no type; write CAST(NULL AS BIGINT), for example"
                )
        self._connection.execute(f"CREATE TABLE {_relation(node.name)} ({_definitions(columns)})")
        self.nodes[node.name] = BoundNode(node, select, columns, pa.schema([travelling_field(each.name, each.type) for each in columns]))

    def _unique(self, node: Node) -> tuple[str, ...]:
        """The columns that no two rows which are looked up have alike, as far as that is plain."""
        if not isinstance(node, AsOfJoin) or not isinstance(looked_up := self.nodes[node.right].node, Aggregate):
            return ()
        return tuple(key.name for key in looked_up.keys)

    def _types(self, sql: str, names: tuple[str, ...]) -> Columns:
        try:
            types = [str(each) for each in self._connection.sql(sql).types]
        except duckdb.Error as error:
            raise _bound_error(error) from None
        return tuple(map(TypedColumn, names, types))

    def _source(self, source: str) -> Columns:
        if source not in self._sources:
            raise UnknownInput(f"it reads the input {shown(source)}, which the job has not{near(source, self._sources)}")
        if source not in self._known:
            self._known[source] = self._source_columns(source, self._sources[source])
        return self._known[source]

    def _source_columns(self, source: str, schema: pa.Schema) -> Columns:
        names = schema.names
        if not names:
            raise InvalidStep(f"the input {shown(source)} has no columns")
        if len(names) > self._limits.columns:
            raise PlanTooLarge(f"the input {shown(source)} has {len(names)} columns; at most {self._limits.columns} are allowed")
        uses = Counter(map(folded, names))
        for name in names:
            if not is_column_name(name):
                allowed = "names have 1 to 255 characters, none of them U+0000 or U+001F"
                raise InvalidStep(f"the input {shown(source)} has a column named {shown(name)}; {allowed}")
            if uses[folded(name)] > 1:
                raise DuplicateColumn(f"the input {shown(source)} has the column {shown(name)} twice; case does not count")
        try:
            columns = _read_columns(self._connection, source, schema)
        except duckdb.Error:
            raise _unreadable(self._connection, source, schema) from None
        self._connection.execute(f"CREATE TABLE {_source_relation(source)} ({_definitions(columns)})")
        return columns

    def _checked_function(self, node: PythonFunction) -> PythonFunction:
        if len(node.source) > self._limits.source_characters:
            raise PlanTooLarge(f"its source has {len(node.source)} characters; at most {self._limits.source_characters} are allowed")
        if not node.schema:
            raise InvalidStep("it returns no columns; give its schema")
        types = [normal_type(column.type) for column in node.schema]
        for column, type_name in zip(node.schema, types, strict=True):
            if type_name in TRAVELLING:
                raise UnsupportedType(
                    f"column {shown(column.name)} is {type_name}, which Arrow has not; a Python function returns {TRAVELLING[type_name]}"
                )
        schema = tuple(TypedColumn(column.name, type_name) for column, type_name in zip(node.schema, types, strict=True))
        return replace(node, schema=schema)


def _read_columns(connection: duckdb.DuckDBPyConnection, source: str, schema: pa.Schema) -> Columns:
    """The columns as which DuckDB reads an input."""
    connection.register("probe", schema.empty_table())
    types = [str(each) for each in connection.sql("SELECT * FROM probe").types]
    connection.unregister("probe")
    for field, type_name in zip(schema, types, strict=True):
        if '"NULL"' in type_name:
            raise UnsupportedType(f"{_place(source, field)}, which is no type of values; give it one")
    return tuple(map(TypedColumn, schema.names, types))


def _unreadable(connection: duckdb.DuckDBPyConnection, source: str, schema: pa.Schema) -> UnsupportedType:
    """The error about the first column that DuckDB cannot read."""
    for field in schema:
        try:
            _read_columns(connection, source, pa.schema([field]))
        except duckdb.Error:
            return UnsupportedType(f"{_place(source, field)}, which DuckDB cannot read; cast it before")
    return UnsupportedType(f"DuckDB cannot read the input {shown(source)}")


def _place(source: str, field: pa.Field) -> str:
    return f"the column {shown(field.name)} of input {shown(source)} is {field.type}"


def _definitions(columns: Iterable[TypedColumn]) -> str:
    return ", ".join(f"{quoted(column.name)} {column.type}" for column in columns)


def _relation(name: str) -> str:
    return quoted(f"step_{name}")


def _source_relation(source: str) -> str:
    return quoted(f"source_{source}")


def _bound_error(error: duckdb.Error) -> InvalidPlan:
    words = _CARET.sub("", _CANDIDATES.sub("", str(error))).strip()
    if isinstance(error, duckdb.BinderException):
        return TypeMismatch(words.removeprefix("Binder Error: "))
    return InvalidExpression(words)


@contextmanager
def _of_step(name: str) -> Iterator[None]:
    try:
        yield
    except InvalidPlan as error:
        raise error.at_step(name) from None
