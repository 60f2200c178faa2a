"""Expressions of a plan: checked, and written anew by DuckDB so that only what was checked is run.

`checked` walks a syntax tree and returns one whose columns are those of the input; the three functions for texts return SQL.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from servers.processing.plan.depth import within_depth
from servers.processing.plan.errors import InvalidExpression, InvalidPlan, PlanTooLarge, UnknownColumn, VolatileFunction, near, shown
from servers.processing.plan.functions import (
    AGGREGATES_OF_LISTS,
    FRAME_VALUE_FUNCTIONS,
    LAMBDA_FUNCTIONS,
    NEEDS_ORDER,
    PEER_FUNCTIONS,
    POSITION_FUNCTIONS,
    REFUSED,
    TIES_COUNT,
    VOLATILE_NAMES,
    FunctionKind,
    catalogue,
    kind_of,
)
from servers.processing.plan.nodes import Ordering, WindowColumn
from servers.runtime.sql_names import folded, quoted
from servers.runtime.sql_trees import (
    NotParsed,
    Tree,
    children,
    column_reference,
    expression_text,
    function_call,
    function_name,
    line_and_column,
    location,
    ordering,
    single_expression,
    text_constant,
)

Resolve = Callable[[tuple[str, ...], Tree], Tree]
"""Returns the tree of what a (qualified) name means, or raises."""

_PLAIN = frozenset(
    ("COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "CASE", "CAST", "BETWEEN", "LAMBDA", "FUNCTION", "TYPE")
)
_QUOTED_NAME = re.compile(r'"((?:[^"]|"")+)"')
_REFUSED_CLASSES = {
    "SUBQUERY": "a subquery; join it instead (with a SEMI JOIN for IN and EXISTS)",
    "STAR": "a `*` or COLUMNS(…); name the columns",
    "WINDOW": "an OVER clause; use a Window step",
    "PARAMETER": "a parameter; write the value",
    "DEFAULT": "DEFAULT; write the value",
    "POSITIONAL_REFERENCE": "a column by its number; name the column",
    "COLLATE": "COLLATE; use lower(…), strip_accents(…) or nfc_normalize(…)",
}


@dataclass(frozen=True)
class Names:
    """Column names of a relation, found whatever their case."""

    names: tuple[str, ...]
    by_folded: Mapping[str, str]

    @staticmethod
    def of(names: Iterable[str]) -> Names:
        """Names in the order of the columns."""
        listed = tuple(names)
        return Names(listed, {folded(name): name for name in listed})

    def found(self, name: str) -> str | None:
        """The column's own spelling of a name; None if there is no such column."""
        return self.by_folded.get(folded(name))

    def column(self, name: str, what: str = "the column") -> str:
        """The column's own spelling of a name.

        Raises:
            UnknownColumn: INVALID_ARGUMENT: there is none.
        """
        known = self.found(name)
        if known is None:
            raise UnknownColumn(f"{what} {shown(name)} is not there{near(name, self.names)}")
        return known


@dataclass(frozen=True)
class Expression:
    """An expression that was checked.

    Args:
        sql: As DuckDB writes it.
        column: The column that it is, if it is nothing else.
    """

    sql: str
    column: str | None


def scalar(text: str, names: Names, limit: int) -> Expression:
    """Reads an expression that has one value a row.

    Args:
        text: As the plan has it.
        names: Columns of the input.
        limit: Most characters.

    Raises:
        InvalidExpression: INVALID_ARGUMENT: it is something else, or calls what it may not.
        UnknownColumn: INVALID_ARGUMENT: it names a column that is not there.
    """
    # Most expressions of plans that programs write; parsing and writing them would be a quarter of the time that binding takes.
    if (column := _QUOTED_NAME.fullmatch(text)) and (known := names.found(column[1].replace('""', '"'))):
        return Expression(quoted(known), known)
    with within_depth():
        parsed = _parsed(text, limit)
        tree = _in_text(text, lambda: checked(parsed, columns_resolver(names), allows_aggregates=False))
        return Expression(expression_text(tree), comparable_name(tree) or None)


def aggregate(text: str, names: Names, limit: int) -> str:
    """Returns the SQL of an expression that has one value a group. Arguments and errors as `scalar`."""
    with within_depth():
        parsed = _parsed(text, limit)
        tree = _in_text(text, lambda: checked(parsed, columns_resolver(names), allows_aggregates=True))
        if not has_aggregate(tree):
            raise InvalidExpression(f"{shown(text)} has no aggregate function; a value of the group itself is one of the keys")
        return expression_text(tree)


def window(column: WindowColumn, partition_by: Iterable[str], order_by: Iterable[Ordering], names: Names, limit: int) -> str:
    """Returns the SQL of a window call with its OVER clause.

    Args:
        column: Call and frame.
        partition_by: Columns of the input.
        order_by: Columns of the input.
        names: Columns of the input.
        limit: Most characters of call and frame.
    """
    if len(column.call) + len(column.frame) > limit:
        raise PlanTooLarge(f"an expression has {len(column.call) + len(column.frame)} characters; at most {limit} are allowed")
    with within_depth():
        return _windowed(column, tuple(partition_by), tuple(order_by), names)


def _windowed(column: WindowColumn, partition_by: tuple[str, ...], order_by: tuple[Ordering, ...], names: Names) -> str:
    # The order only makes frames that need one parse.
    text = f"{column.call}\nOVER (ORDER BY 1 {column.frame}\n)"
    tree = _parsed(text, len(text))
    if tree["class"] != "WINDOW":
        raise InvalidExpression(f"{shown(column.call)} is not one call of an aggregate or window function")
    tree = {**tree, "partitions": [], "orders": []}
    resolved = _in_text(column.call, lambda: checked_window(tree, columns_resolver(names)))
    orders = [ordering(column_reference(each.column), each.is_descending, each.is_nulls_first) for each in order_by]
    ties = (name for name in names.names if name not in partition_by)
    return expression_text(over(resolved, [column_reference(name) for name in partition_by], orders, ties))


def over(call: Tree, partitions: list[Tree], orders: list[Tree], tie_breakers: Iterable[str]) -> Tree:
    """Returns a window call over partitions and an order, such that rows of the same order cannot make a difference.

    Where single rows count, all columns are appended to the order. Where peers count (RANGE and GROUPS frames, ranks) that would change
    the meaning: there only the order inside of the call is made total.
    """
    name = function_name(call)
    ordered = {comparable_name(order["expression"]) for order in orders}
    ties = [ordering(column_reference(each)) for each in tie_breakers if each not in ordered]
    counts_rows = name in POSITION_FUNCTIONS or (name not in PEER_FUNCTIONS and _has_rows_frame(call))
    result = {**call, "partitions": partitions, "orders": [*orders, *ties] if counts_rows else orders}
    if counts_rows and call["exclude_clause"] in ("TIES", "GROUP"):
        raise InvalidExpression(
            "EXCLUDE TIES and EXCLUDE GROUP go with frames by RANGE or GROUPS only, since no two rows of a ROWS frame are tied"
        )
    if name in POSITION_FUNCTIONS and call["arg_orders"]:
        result["arg_orders"] = [*call["arg_orders"], *ties]
    elif not counts_rows and name in FRAME_VALUE_FUNCTIONS | TIES_COUNT:
        result["arg_orders"] = [*(call["arg_orders"] or orders), *ties]
    return result


def comparable_name(tree: Tree) -> str:
    """Name of the column that a tree is; empty if it is something else."""
    return str(tree["column_names"][0]) if tree["class"] == "COLUMN_REF" and len(tree["column_names"]) == 1 else ""


def checked(tree: Tree, resolve: Resolve, *, allows_aggregates: bool) -> Tree:
    """Returns a copy of an expression's tree with its columns resolved and its ties broken.

    Raises:
        InvalidPlan: INVALID_ARGUMENT, with the place as `PlacedError` keeps it.
    """
    return _Walk(resolve).tree(tree, frozenset(), allows_aggregates)


def checked_window(tree: Tree, resolve: Resolve) -> Tree:
    """Does the same for a window call without partitions and orders."""
    name = function_name(tree)
    _check_path(tree)
    if kind_of(name) not in (FunctionKind.AGGREGATE, FunctionKind.WINDOW):
        raise of_place(_unknown_function(name, "an aggregate or window function"), tree)
    if tree["distinct"] and name in TIES_COUNT:
        raise of_place(InvalidExpression(f"DISTINCT in a window call of {name} is not known"), tree)
    walk = _Walk(resolve)
    copied = copy.copy(tree)
    copied["arguments"] = [walk.field(each, frozenset(), False) for each in tree["arguments"]]
    for key in ("start_expr", "end_expr", "filter_expr", "offset_expr", "default_expr"):
        copied[key] = None if tree[key] is None else walk.tree(tree[key], frozenset(), False)
    copied["arg_orders"] = [walk.field(each, frozenset(), False) for each in tree["arg_orders"]]
    return copied


def is_aggregate_call(tree: Tree) -> bool:
    """Says whether a tree is a call of an aggregate function."""
    return tree.get("class") == "FUNCTION" and kind_of(function_name(tree)) is FunctionKind.AGGREGATE


def _has_rows_frame(call: Tree) -> bool:
    return str(call["start"]).endswith("_ROWS") or str(call["end"]).endswith("_ROWS")


@dataclass(frozen=True)
class _Walk:
    resolve: Resolve

    def tree(self, tree: Tree, lambda_names: frozenset[str], allows_aggregates: bool) -> Tree:
        kind = tree.get("class")
        if kind is None:
            return self.field(tree, lambda_names, allows_aggregates)
        if kind in _REFUSED_CLASSES or kind not in _PLAIN:
            raise of_place(InvalidExpression(f"an expression cannot have {_REFUSED_CLASSES.get(kind, kind)}"), tree)
        if kind == "COLUMN_REF":
            return self._column(tree, lambda_names)
        if kind == "FUNCTION":
            return self._call(tree, lambda_names, allows_aggregates)
        if kind == "TYPE":
            return tree
        if tree["type"] in ("GROUPING_FUNCTION", "GROUPING"):
            raise of_place(InvalidExpression(f"grouping cannot be used: {REFUSED['grouping']}"), tree)
        return self.field(tree, lambda_names, allows_aggregates)

    def field(self, tree: Tree, lambda_names: frozenset[str], allows_aggregates: bool) -> Tree:
        return {key: self._value(value, lambda_names, allows_aggregates) for key, value in tree.items()}

    def _value(self, value: Any, lambda_names: frozenset[str], allows_aggregates: bool) -> Any:
        if isinstance(value, dict):
            return self.tree(value, lambda_names, allows_aggregates)
        return [self._value(each, lambda_names, allows_aggregates) for each in value] if isinstance(value, list) else value

    def _column(self, tree: Tree, lambda_names: frozenset[str]) -> Tree:
        names = tuple(tree["column_names"])
        if folded(names[0]) in lambda_names:
            return tree
        resolved = self.resolve(names, tree)
        if lambda_names & set(_names_in(resolved)):
            raise of_place(
                InvalidExpression(
                    f"{shown('.'.join(names))} would be taken for the parameter of the lambda around it; rename the parameter"
                ),
                tree,
            )
        return {**resolved, "alias": tree["alias"]}

    def _call(self, tree: Tree, lambda_names: frozenset[str], allows_aggregates: bool) -> Tree:
        name = function_name(tree)
        _check_path(tree)
        kind = kind_of(name)
        if kind is FunctionKind.AGGREGATE and allows_aggregates:
            return _ties_broken(self._arguments(tree, name, lambda_names, False), name)
        if kind is FunctionKind.AGGREGATE:
            raise of_place(
                InvalidExpression(f"{name} is an aggregate function, and here one value a row is needed; use an Aggregate step"), tree
            )
        if kind is FunctionKind.WINDOW:
            raise of_place(InvalidExpression(f"{name} is a window function; use a Window step"), tree)
        if kind is not FunctionKind.SCALAR:
            raise of_place(_unknown_function(name, "a scalar function"), tree)
        if name == "age" and len(tree["arguments"]) == 1:
            raise of_place(VolatileFunction("age of one argument looks at today's date; give both dates"), tree)
        if name in AGGREGATES_OF_LISTS:
            _check_named_aggregate(tree)
        return self._arguments(tree, name, lambda_names, allows_aggregates)

    def _arguments(self, tree: Tree, name: str, lambda_names: frozenset[str], allows_aggregates: bool) -> Tree:
        copied = {**tree, "arguments": []}
        for argument in tree["arguments"]:
            expression = argument["expression"]
            if expression["class"] == "LAMBDA" and name in LAMBDA_FUNCTIONS and not is_lambda(expression):
                raise of_place(InvalidExpression("an arrow is a path of JSON; write the function as `lambda x: …`"), expression)
            if is_lambda(expression):
                body = self._value(expression["expr"], lambda_names | parameters(expression["lhs"]), False)
                resolved = {**expression, "expr": body}
            else:
                resolved = self.tree(expression, lambda_names, allows_aggregates)
            copied["arguments"].append({**argument, "expression": resolved})
        if tree["filter"] is not None:
            copied["filter"] = self.tree(tree["filter"], lambda_names, False)
        copied["order_bys"] = self.field(tree["order_bys"], lambda_names, False)
        return copied


def _names_in(tree: Tree) -> Iterator[str]:
    if tree.get("class") == "COLUMN_REF":
        yield folded(tree["column_names"][0])
    for each in children(tree):
        yield from _names_in(each)


def is_lambda(tree: Tree) -> bool:
    """Says whether an argument is a function itself. An arrow is none: it is a path of JSON."""
    return bool(tree["class"] == "LAMBDA" and tree["syntax_type"] == "LAMBDA_KEYWORD")


def parameters(tree: Tree) -> frozenset[str]:
    """Names of a lambda's parameters, folded."""
    if tree["class"] == "COLUMN_REF":
        return frozenset((folded(tree["column_names"][0]),))
    return frozenset(name for argument in tree["arguments"] for name in parameters(argument["expression"]))


def _ties_broken(call: Tree, name: str) -> Tree:
    orders = call["order_bys"]["orders"]
    if name in NEEDS_ORDER and not orders:
        raise of_place(InvalidExpression(f"{name} depends on the order of rows, which there is none; write {name}(… ORDER BY …)"), call)
    if name not in TIES_COUNT:
        return call
    ties = [ordering(each["expression"]) for each in call["arguments"] if each["expression"]["class"] != "CONSTANT"]
    return {**call, "order_bys": {**call["order_bys"], "orders": [*orders, *ties]}}


def _check_named_aggregate(tree: Tree) -> None:
    for argument in tree["arguments"]:
        name = str(argument["expression"].get("literal", {}).get("text", "")).lower()
        if name in REFUSED:
            raise of_place(InvalidExpression(f"{name} cannot be used: {REFUSED[name]}"), tree)


def _check_path(tree: Tree) -> None:
    path = tree["qualified_name"]["path"]
    if len(path) != 1:
        name = path[-1]
        raise of_place(
            InvalidExpression(f"{shown('.'.join(path))} is a call with dots; write {name}(…) with what stands before it as argument"), tree
        )


def _unknown_function(name: str, wanted: str) -> InvalidPlan:
    kind = kind_of(name)
    if kind is FunctionKind.REFUSED:
        return InvalidExpression(f"{name} cannot be used: {REFUSED[name]}")
    if kind is FunctionKind.VOLATILE:
        return VolatileFunction(
            f"{name} depends on more than its arguments, so the same job could give other rows; bring the value in as a column"
        )
    if kind is not None:
        return InvalidExpression(f"{name} is not {wanted}")
    return InvalidExpression(f"there is no function {shown(name)}{near(name, catalogue(), lists_others=False)}")


def columns_resolver(names: Names, what: str = "the column") -> Resolve:
    """A `Resolve` for expressions over one relation: a name is a column, further names are fields of a struct in it."""

    def resolve(path: tuple[str, ...], tree: Tree) -> Tree:
        known = names.found(path[0])
        if known is None:
            if folded(path[0]) in VOLATILE_NAMES:
                raise of_place(VolatileFunction(f"{path[0]} changes from run to run; bring the value in as a column"), tree)
            raise of_place(UnknownColumn(f"{what} {shown(path[0])} is not there{near(path[0], names.names)}"), tree)
        return with_fields(column_reference(known), path[1:])

    return resolve


def with_fields(tree: Tree, fields: Iterable[str]) -> Tree:
    """A column, or the field of a field of the struct in it."""
    for field in fields:
        tree = function_call("struct_extract", [tree, text_constant(field)])
    return tree


class PlacedError(Exception):
    """Carries a typed error and the place in bytes up to who knows the text."""

    def __init__(self, error: InvalidPlan, place: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.place = place


def of_place(error: InvalidPlan, tree: Tree) -> PlacedError:
    """An error at the place of a tree."""
    return PlacedError(error, location(tree))


def _in_text(text: str, work: Callable[[], Tree]) -> Tree:
    try:
        return work()
    except PlacedError as placed:
        raise type(placed.error)(f"{placed.error.bare_message} (in {_around(text, placed.place)})") from None


def _around(text: str, place: int | None) -> str:
    found = line_and_column(text, place)
    return shown(text) if found is None or found == (1, 1) else f"{shown(text)}, line {found[0]}, column {found[1]}"


def _parsed(text: str, limit: int) -> Tree:
    if len(text) > limit:
        raise PlanTooLarge(f"an expression has {len(text)} characters; at most {limit} are allowed")
    if "\0" in text:
        raise InvalidExpression("an expression has a NUL character")
    try:
        tree = single_expression(text)
    except NotParsed as error:
        raise InvalidExpression(f"{shown(text)} is not one expression: {error.message}") from None
    if tree is None:
        raise InvalidExpression(f"{shown(text)} is not one expression; aliases, commas and clauses (FROM, WHERE, …) have no place in it")
    return tree


def has_aggregate(tree: Tree) -> bool:
    """Says whether an expression calls an aggregate function outside of a window call."""
    if tree.get("class") == "WINDOW":
        return any(has_aggregate(each) for each in children(tree))
    return is_aggregate_call(tree) or any(has_aggregate(each) for each in children(tree))
