"""A SELECT of DuckDB's SQL as a plan.

Known are common table expressions, subqueries in FROM, all joins but POSITIONAL, WHERE, GROUP BY, HAVING, windows, QUALIFY, DISTINCT [ON],
UNION [ALL], ORDER BY and LIMIT. Everything else is refused with its place and what to use instead; nothing has another meaning than in
DuckDB. Where SQL leaves open which rows come first, the plan has all columns decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from servers.processing.plan.depth import within_depth
from servers.processing.plan.errors import InvalidSql, PlanTooLarge
from servers.processing.plan.expressions import PlacedError, of_place
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Column, Ordering, Project, Union
from servers.processing.plan.plan import Plan
from servers.processing.plan.sql_from import FromReader, Tables
from servers.processing.plan.sql_order import Order, first_placed, limited, orders_of
from servers.processing.plan.sql_scope import Relation, ScopeColumn, unsupported
from servers.processing.plan.sql_select import SelectReader
from servers.processing.plan.sql_steps import StepWriter
from servers.runtime.sql_names import folded, quoted
from servers.runtime.sql_trees import (
    NotParsed,
    Tree,
    line_and_column,
    statements,
)

OUTPUT = "result"
"""Name of the step that has the rows of a SELECT."""


def plan_of_sql(text: str, sources: Mapping[str, Sequence[str]], limits: PlanLimits | None = None) -> Plan:
    """Returns the plan of one SELECT, whose output is the step `result`.

    Args:
        text: The SELECT.
        sources: Names of the columns of each input.
        limits: How large text and plan may be.

    Raises:
        InvalidPlan: INVALID_ARGUMENT, with line and column: no SELECT, a construct that plans do not know, an unknown name.
    """
    limits = limits or PlanLimits()
    if len(text) > limits.sql_characters:
        raise PlanTooLarge(f"the SELECT has {len(text)} characters; at most {limits.sql_characters} are allowed")
    if "\0" in text:
        raise InvalidSql("the SELECT has a NUL character")
    steps = StepWriter(text, limits.steps)
    steps.name(OUTPUT)
    try:
        reader = _Reader(steps, sources)
        with within_depth():
            reader.query(_statement(text), {}, is_outermost=True)
    except PlacedError as placed:
        line, column = line_and_column(text, placed.place) or (None, None)
        raise type(placed.error)(placed.error.bare_message, line=line, column=column) from None
    steps.rename_last(OUTPUT)
    return Plan(tuple(steps.steps), (OUTPUT,))


def _statement(text: str) -> Tree:
    try:
        found = statements(text)
    except NotParsed as error:
        line, column = line_and_column(text, error.place) or (None, None)
        words = "only one SELECT can be a plan, no other statement (PIVOT is one, too)" if error.is_other_statement else error.message
        raise InvalidSql(words, line=line, column=column) from None
    if len(found) != 1:
        raise InvalidSql(f"there are {len(found)} statements; a plan is one SELECT")
    return found[0]


class _Reader:
    def __init__(self, steps: StepWriter, sources: Mapping[str, Sequence[str]]) -> None:
        self._steps = steps
        self._from = FromReader(steps, sources, lambda tree, tables: self.query(tree, tables))

    def query(self, node: Tree, outer: Tables, *, is_outermost: bool = False) -> Relation:
        """The rows of a SELECT or UNION, with the select list's columns, in the order of its ORDER BY."""
        tables = self._with_tables(node, outer)
        match node["type"]:
            case "SELECT_NODE":
                return SelectReader(self._steps, self._from.relation(node["from_table"], tables), node, is_outermost).relation()
            case "SET_OPERATION_NODE":
                return self._union(node, tables, is_outermost)
            case "RECURSIVE_CTE_NODE":
                raise unsupported(first_placed(node), "WITH RECURSIVE", "a plan has no cycles; run the job repeatedly")
            case other:
                raise unsupported(first_placed(node), other, "write a SELECT")

    def _with_tables(self, node: Tree, outer: Tables) -> Tables:
        tables = dict(outer)
        for entry in node["cte_map"]["map"]:
            tables[folded(entry["key"])] = self._table(entry["key"], entry["value"], dict(tables))
        return tables

    def _table(self, name: str, definition: Tree, tables: Tables) -> Callable[[], Relation]:
        known: list[Relation] = []

        def relation() -> Relation:
            if not known:
                found = self.query(definition["query_node"], tables)
                aliases = definition["aliases"]
                names = [*aliases, *(each.name for each in found.columns[len(aliases) :])]
                columns = tuple(ScopeColumn(name, alias, each.column) for alias, each in zip(names, found.columns, strict=True))
                known.append(Relation(found.node, columns, found.node_columns))
            return known[0]

        return relation

    def _union(self, node: Tree, tables: Tables, is_outermost: bool) -> Relation:
        if node["setop_type"] != "UNION":
            instead = {"UNION_BY_NAME": "name the columns in one order", "INTERSECT": "use a SEMI JOIN", "EXCEPT": "use an ANTI JOIN"}
            construct = node["setop_type"].replace("_", " ")
            raise unsupported(first_placed(node), construct, instead.get(node["setop_type"], "use UNION"))
        parts = [self.query(child, tables) for child in node["children"]]
        names = [each.name for each in parts[0].columns]
        inputs = []
        for child, part in zip(node["children"], parts, strict=True):
            if len(part.columns) != len(names):
                raise of_place(
                    InvalidSql(f"a UNION of {len(names)} and {len(part.columns)} columns; both sides need the same number"),
                    first_placed(child),
                )
            project = Project(
                self._steps.name("part"),
                part.node,
                tuple(Column(name, quoted(each.column)) for name, each in zip(names, part.columns, strict=True)),
            )
            inputs.append(self._steps.add(project))
        union = self._steps.add(Union(self._steps.name("union"), tuple(inputs), is_distinct=not node["setop_all"]))
        relation = Relation(union, tuple(ScopeColumn(None, name, name) for name in names), tuple(names))
        orders: list[Order] = []
        for modifier in node["modifiers"]:
            if modifier["type"] == "ORDER_MODIFIER":
                orders = [
                    order
                    for each in modifier["orders"]
                    for order in orders_of(each, len(names), {folded(name): place for place, name in enumerate(names)})
                ]
        for order in orders:
            if order.tree is not None:
                raise unsupported(order.tree, "an expression in the ORDER BY of a UNION", "order by a name or number of its columns")
        ordering = tuple(
            Ordering(names[order.item], order.is_descending, order.is_nulls_first) for order in orders if order.item is not None
        )
        return limited(self._steps, relation, node["modifiers"], ordering, is_outermost)
