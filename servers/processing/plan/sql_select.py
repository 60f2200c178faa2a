"""One SELECT, clause by clause, in the order in which SQL computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from servers.processing.plan.errors import DuplicateColumn, InvalidSql, UnknownColumn, near, shown
from servers.processing.plan.expressions import (
    checked,
    checked_window,
    comparable_name,
    has_aggregate,
    is_aggregate_call,
    is_lambda,
    of_place,
    parameters,
)
from servers.processing.plan.nodes import Aggregate, Column, Deduplicate, Filter, Ordering, Project, Window, WindowColumn
from servers.processing.plan.sql_order import Order, first_placed, item_number, limited, orders_of
from servers.processing.plan.sql_scope import DIRECT, Relation, ScopeColumn, references, unsupported, with_aliases
from servers.processing.plan.sql_steps import StepWriter
from servers.runtime.sql_names import folded, quoted
from servers.runtime.sql_trees import Tree, children, column_reference, comparable, expression_text


@dataclass(frozen=True)
class _Late:
    """The expressions that are computed after grouping: over groups, then with windows."""

    items: tuple[Tree, ...]
    qualify: tuple[Tree, ...]
    distinct_on: tuple[Tree, ...]
    orders: tuple[Tree, ...]

    def __iter__(self) -> Iterator[Tree]:
        yield from (*self.items, *self.qualify, *self.distinct_on, *self.orders)

    def mapped(self, change: Callable[[Tree], Tree]) -> _Late:
        return _Late(*(tuple(map(change, part)) for part in (self.items, self.qualify, self.distinct_on, self.orders)))


class SelectReader:
    """Reads one SELECT.

    Args:
        steps: Gets the steps.
        relation: What its FROM clause is.
        node: Its tree.
        is_outermost: Whether its order is that of the result.
    """

    def __init__(self, steps: StepWriter, relation: Relation, node: Tree, is_outermost: bool) -> None:
        self._steps = steps
        self._node = node
        self._is_outermost = is_outermost
        self._from = relation
        self._relation = relation
        """What has been computed so far."""
        self._aliases: dict[str, Tree] = {}
        self._names: list[str] = []

    def relation(self) -> Relation:
        """Returns the rows of the SELECT, with the columns of its select list."""
        node = self._node
        if node["sample"] is not None:
            raise unsupported(first_placed(node), "USING SAMPLE", "use a Sample step, which takes the same rows every time")
        items = self._select_list()
        orders = self._order_by()
        distinct = next((each for each in node["modifiers"] if each["type"] == "DISTINCT_MODIFIER"), None)
        late = _Late(
            items,
            self._optional("qualify"),
            tuple(self._listed(each, items) for each in distinct["distinct_on_targets"]) if distinct else (),
            tuple(order.tree for order in orders if order.tree is not None),
        )
        if node["where_clause"] is not None:
            self._filter(self._aliased(node["where_clause"], prefers_columns=True))
        if self._is_grouped(late):
            late = self._grouped(late)
        late = self._windowed(late)
        for condition in late.qualify:
            self._filter(condition)
        return self._projected(late, orders, is_distinct=distinct is not None)

    def _select_list(self) -> tuple[Tree, ...]:
        items: list[Tree] = []
        for tree in self._node["select_list"]:
            for name, item in self._starred(tree) if tree["class"] == "STAR" else [(_name_of(tree, self._from), tree)]:
                aliased = self._aliased(item, prefers_columns=True)
                if tree["alias"]:
                    self._aliases.setdefault(folded(tree["alias"]), aliased)
                self._names.append(name)
                items.append(aliased)
        seen: set[str] = set()
        for name in self._names:
            if folded(name) in seen:
                raise of_place(
                    DuplicateColumn(f"two columns of the select list are named {shown(name)}; name one of them otherwise with AS"),
                    first_placed(self._node),
                )
            seen.add(folded(name))
        return tuple(items)

    def _starred(self, star: Tree) -> list[tuple[str, Tree]]:
        """The columns that a `*` stands for, with their names."""
        if star["columns"] or star["expr"] is not None:
            raise unsupported(star, "COLUMNS(…)", "name the columns, or use * EXCLUDE (…)")
        qualifier = star["relation_name"]
        columns = [
            each for each in self._from.columns if (each.is_plain if not qualifier else folded(each.qualifier or "") == folded(qualifier))
        ]
        if not columns:
            owners = dict.fromkeys(each.qualifier for each in self._from.columns if each.qualifier)
            raise of_place(UnknownColumn(f"there is no relation {shown(qualifier)}{near(qualifier, owners)}"), star)
        if star["qualified_exclude_list"]:
            raise unsupported(star, "EXCLUDE of a column with its relation", "write its name only")
        excluded = {folded(name) for name in star["exclude_list"]}
        replaced = {folded(each["key"]): each["value"] for each in star["replace_list"]}
        renamed = {folded(each["key"]["column"]): each["value"] for each in star["rename_list"]}
        known = [each.name for each in columns]
        for name in (*excluded, *replaced, *renamed):
            if name not in map(folded, known):
                raise of_place(UnknownColumn(f"`*` has no column {shown(name)}{near(name, known)}"), star)
        return [
            (renamed.get(folded(each.name), each.name), replaced.get(folded(each.name), _direct(each)))
            for each in columns
            if folded(each.name) not in excluded
        ]

    def _order_by(self) -> list[Order]:
        by_name = {folded(name): place for place, name in enumerate(self._names)}
        found: list[Order] = []
        for modifier in self._node["modifiers"]:
            if modifier["type"] == "ORDER_MODIFIER":
                for each in modifier["orders"]:
                    found += orders_of(each, len(self._names), by_name)
        return [order if order.tree is None else replace(order, tree=self._aliased(order.tree, prefers_columns=False)) for order in found]

    def _optional(self, clause: str) -> tuple[Tree, ...]:
        tree = self._node[clause]
        return () if tree is None else (self._aliased(tree, prefers_columns=False),)

    def _aliased(self, tree: Tree, *, prefers_columns: bool) -> Tree:
        return with_aliases(tree, self._from, self._aliases, prefers_columns=prefers_columns)

    def _listed(self, tree: Tree, items: tuple[Tree, ...]) -> Tree:
        """An expression of GROUP BY or DISTINCT ON, which may be the number of a column."""
        number = item_number(tree, len(items))
        return self._aliased(tree, prefers_columns=True) if number is None else items[number]

    def _filter(self, condition: Tree) -> None:
        text = self._text(condition)
        self._relation = self._relation.of_step(self._steps.add(Filter(self._steps.name("filter"), self._relation.node, text)))

    def _text(self, tree: Tree) -> str:
        return expression_text(self._checked(tree))

    def _checked(self, tree: Tree) -> Tree:
        return checked(tree, self._relation.resolved, allows_aggregates=False)

    def _is_grouped(self, late: _Late) -> bool:
        node = self._node
        clauses = node["group_expressions"] or node["having"] is not None or node["aggregate_handling"] == "FORCE_AGGREGATES"
        return bool(clauses) or any(map(has_aggregate, late))

    def _grouped(self, late: _Late) -> _Late:
        """Adds the aggregation, and returns the expressions over its result."""
        node = self._node
        if len(node["group_sets"]) > 1 or (node["group_sets"] and len(node["group_sets"][0]) < len(node["group_expressions"])):
            raise unsupported(
                first_placed(node["group_expressions"][0]),
                "grouping by ROLLUP, CUBE or GROUPING SETS",
                "aggregate several times and UNION the results",
            )
        if node["aggregate_handling"] == "FORCE_AGGREGATES":
            wanted = [item for item in late.items if not has_aggregate(item)]
        else:
            wanted = [self._listed(each, late.items) for each in node["group_expressions"]]
        groups = _Groups(self._steps, self._relation)
        for tree in wanted:
            groups.add_key(tree)
        late = late.mapped(groups.replaced)
        having = [groups.replaced(each) for each in self._optional("having")]
        self._relation = groups.relation()
        for condition in having:
            self._filter(condition)
        return late

    def _windowed(self, late: _Late) -> _Late:
        """Adds the windows, and returns the expressions with columns in their place."""
        windows = _Windows(self._steps, self._relation)
        late = late.mapped(windows.replaced)
        self._relation = windows.relation()
        return late

    def _projected(self, late: _Late, orders: list[Order], *, is_distinct: bool) -> Relation:
        columns = [Column(name, self._text(tree)) for name, tree in zip(self._names, late.items, strict=True)]
        targets = [Column(self._steps.column("on"), self._text(tree)) for tree in late.distinct_on]
        if is_distinct and not targets and late.orders:
            raise unsupported(late.orders[0], "DISTINCT with ORDER BY of something that is not selected", "select it, too")
        ordered = [Column(self._steps.column("order"), self._text(tree)) for tree in late.orders]
        project = Project(self._steps.name("select"), self._relation.node, (*columns, *targets, *ordered))
        node = self._steps.add(project)
        hidden = iter(ordered)
        named = [(next(hidden).name if order.item is None else self._names[order.item], order) for order in orders]
        by_column = {column: Ordering(column, order.is_descending, order.is_nulls_first) for column, order in reversed(named)}
        ordering = tuple(dict.fromkeys(by_column[column] for column, _ in named))
        if targets:
            node = self._steps.add(Deduplicate(self._steps.name("distinct"), node, tuple(each.name for each in targets), ordering))
        elif is_distinct:
            node = self._steps.add(
                Aggregate(self._steps.name("distinct"), node, tuple(Column(name, quoted(name)) for name in self._names), ())
            )
        relation = Relation(
            node, tuple(ScopeColumn(None, name, name) for name in self._names), tuple(each.name for each in project.columns)
        )
        relation = limited(self._steps, relation, self._node["modifiers"], ordering, self._is_outermost)
        if self._is_outermost and targets and relation.node == node:
            visible = tuple(Column(name, quoted(name)) for name in self._names)
            relation = replace(relation, node=self._steps.add(Project(self._steps.name("select"), node, visible)))
        return relation


class _Groups:
    """The keys and aggregations of a SELECT."""

    def __init__(self, steps: StepWriter, relation: Relation) -> None:
        self._steps = steps
        self._from = relation
        self._keys: dict[str, Column] = {}
        self._aggregations: dict[str, Column] = {}

    def add_key(self, tree: Tree) -> None:
        resolved = checked(tree, self._from.resolved, allows_aggregates=False)
        if comparable(resolved) not in self._keys:
            self._keys[comparable(resolved)] = Column(self._steps.column("key"), expression_text(resolved))

    def replaced(self, tree: Tree, lambda_names: frozenset[str] = frozenset()) -> Tree:
        """An expression over the result: keys and aggregations are columns of it."""
        if is_aggregate_call(tree):
            return _with_alias(self._aggregation(tree), tree)
        kind = tree.get("class")
        if kind in ("CONSTANT", "TYPE"):
            return tree
        if kind is not None and kind != "WINDOW" and not _has_calls(tree):
            paths = [path for path, _ in references(tree)]
            if kind == "COLUMN_REF" and folded(paths[0][0]) in lambda_names:
                return tree
            if paths and not any(folded(path[0]) in lambda_names for path in paths):
                key = self._keys.get(comparable(checked(tree, self._from.resolved, allows_aggregates=False)))
                if key is not None:
                    return _with_alias(column_reference(key.name), tree)
            if kind == "COLUMN_REF":
                name = shown(".".join(paths[0]))
                raise of_place(
                    InvalidSql(f"column {name} is neither in GROUP BY nor in an aggregate function; add it to GROUP BY, or aggregate it"),
                    tree,
                )
        return _descended(tree, self.replaced, lambda_names)

    def relation(self) -> Relation:
        if not self._keys and not self._aggregations:
            self._aggregations["count"] = Column(self._steps.column("count"), "count(*)")
        columns = (*self._keys.values(), *self._aggregations.values())
        step = Aggregate(self._steps.name("aggregate"), self._from.node, tuple(self._keys.values()), tuple(self._aggregations.values()))
        return Relation(
            self._steps.add(step), tuple(ScopeColumn(None, each.name, each.name) for each in columns), tuple(each.name for each in columns)
        )

    def _aggregation(self, tree: Tree) -> Tree:
        resolved = checked(tree, self._from.resolved, allows_aggregates=True)
        text = comparable(resolved)
        if text not in self._aggregations:
            self._aggregations[text] = Column(self._steps.column("value"), expression_text(resolved))
        return column_reference(self._aggregations[text].name)


class _Windows:
    """The window calls of a SELECT, and the columns that they need."""

    def __init__(self, steps: StepWriter, relation: Relation) -> None:
        self._steps = steps
        self._before = relation
        self._computed: dict[str, Column] = {}
        self._windows: dict[tuple[tuple[str, ...], tuple[Ordering, ...]], dict[str, WindowColumn]] = {}

    def replaced(self, tree: Tree, lambda_names: frozenset[str] = frozenset()) -> Tree:
        """An expression over the result: window calls are columns of it."""
        if tree.get("class") == "WINDOW":
            return _with_alias(self._window(tree), tree)
        return _descended(tree, self.replaced, lambda_names)

    def relation(self) -> Relation:
        relation = self._before
        if self._computed:
            project = Project(self._steps.name("window_keys"), relation.node, tuple(self._computed.values()), keeps_others=True)
            relation = relation.of_step(self._steps.add(project), (each.name for each in self._computed.values()))
        for (partition_by, order_by), columns in self._windows.items():
            window = Window(self._steps.name("window"), relation.node, partition_by, order_by, tuple(columns.values()))
            names = tuple(each.name for each in window.columns)
            relation = relation.of_step(self._steps.add(window), names)
            relation = replace(relation, columns=(*relation.columns, *(ScopeColumn(None, name, name) for name in names)))
        return relation

    def _window(self, tree: Tree) -> Tree:
        partition_by = tuple(dict.fromkeys(self._column(each) for each in tree["partitions"]))
        orders: dict[str, Ordering] = {}
        for each in tree["orders"]:
            column = self._column(each["expression"])
            orders.setdefault(column, Ordering(column, each["type"] == "DESCENDING", each["null_order"] == "NULLS FIRST"))
        call = checked_window({**tree, "partitions": [], "orders": [], "alias": ""}, self._before.resolved)
        with_frame = expression_text(call)
        without = expression_text(
            {
                **call,
                "start": "UNBOUNDED_PRECEDING",
                "end": "CURRENT_ROW_RANGE",
                "start_expr": None,
                "end_expr": None,
                "exclude_clause": "NO_OTHER",
            }
        )
        text = without.removesuffix(" OVER ()")
        frame = with_frame.removeprefix(f"{text} OVER (").removesuffix(")")
        columns = self._windows.setdefault((partition_by, tuple(orders.values())), {})
        if with_frame not in columns:
            columns[with_frame] = WindowColumn(self._steps.column("window"), text, frame)
        return column_reference(columns[with_frame].name)

    def _column(self, tree: Tree) -> str:
        resolved = checked(tree, self._before.resolved, allows_aggregates=False)
        if comparable_name(resolved):
            return comparable_name(resolved)
        text = expression_text(resolved)
        if text not in self._computed:
            self._computed[text] = Column(self._steps.column("over"), text)
        return self._computed[text].name


def _descended(tree: Tree, change: Callable[[Tree, frozenset[str]], Tree], lambda_names: frozenset[str]) -> Tree:
    """A tree whose direct parts are changed."""
    copied: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            copied[key] = change(value, lambda_names)
        elif isinstance(value, list):
            copied[key] = [_descended_argument(key, each, change, lambda_names) if isinstance(each, dict) else each for each in value]
        else:
            copied[key] = value
    return copied


def _descended_argument(key: str, value: Tree, change: Callable[[Tree, frozenset[str]], Tree], lambda_names: frozenset[str]) -> Tree:
    expression = value.get("expression") if key == "arguments" else None
    if expression is not None and is_lambda(expression):
        names = lambda_names | parameters(expression["lhs"])
        return {**value, "expression": {**expression, "expr": change(expression["expr"], names)}}
    return change(value, lambda_names)


def _has_calls(tree: Tree) -> bool:
    """Says whether an expression has aggregations or windows, so that it is no key."""
    return tree.get("class") == "WINDOW" or is_aggregate_call(tree) or any(map(_has_calls, children(tree)))


def _with_alias(tree: Tree, of: Tree) -> Tree:
    return {**tree, "alias": of.get("alias", "")}


def _direct(column: ScopeColumn) -> Tree:
    return {**column_reference(column.column), "column_names": [DIRECT, column.column]}


def _name_of(tree: Tree, relation: Relation) -> str:
    """The name that DuckDB gives a column of a select list."""
    if tree["alias"]:
        return str(tree["alias"])
    if tree["class"] == "COLUMN_REF":
        return relation.spelled(tuple(tree["column_names"]))
    return expression_text(tree)
