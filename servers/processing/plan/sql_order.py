"""ORDER BY and LIMIT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from servers.processing.plan.errors import InvalidSql
from servers.processing.plan.expressions import comparable_name, of_place
from servers.processing.plan.nodes import Ordering, Top
from servers.processing.plan.sql_scope import Relation, unsupported
from servers.processing.plan.sql_steps import StepWriter
from servers.runtime.sql_names import folded
from servers.runtime.sql_trees import Tree, children, location


@dataclass(frozen=True)
class Order:
    """A part of an ORDER BY: one of the select list's columns, from 0, or another expression."""

    item: int | None
    tree: Tree | None
    is_descending: bool
    is_nulls_first: bool


def limited(steps: StepWriter, relation: Relation, modifiers: list[Tree], ordering: tuple[Ordering, ...], is_outermost: bool) -> Relation:
    """The rows that ORDER BY and LIMIT leave, with the columns that can be named only."""
    limit, offset, place = None, 0, None
    for modifier in modifiers:
        if modifier["type"] == "LIMIT_MODIFIER":
            place = modifier["limit"] or modifier["offset"]
            if modifier["limit_type"] != "ROW_COUNT":
                raise unsupported(place, "LIMIT in percent", "give a number of rows, or use a Sample step")
            limit = None if modifier["limit"] is None else _whole_number(modifier["limit"])
            offset = 0 if modifier["offset"] is None else _whole_number(modifier["offset"])
        elif modifier["type"] not in ("ORDER_MODIFIER", "DISTINCT_MODIFIER"):
            raise unsupported(modifier, modifier["type"], "leave it out")
    if place is None and not ordering:
        return relation
    if place is None and not is_outermost:
        wrong = next(each["orders"][0]["expression"] for each in modifiers if each["type"] == "ORDER_MODIFIER")
        raise unsupported(wrong, "ORDER BY without LIMIT in a subquery", "leave it out, since it changes no rows")
    columns = tuple(each.column for each in relation.columns)
    node = steps.add(Top(steps.name("top"), relation.node, ordering, limit, offset, columns))
    return Relation(node, relation.columns, columns)


def _whole_number(tree: Tree) -> int:
    if tree["class"] != "CONSTANT" or tree["literal"]["kind"] != "INTEGER":
        raise unsupported(tree, "an expression in LIMIT or OFFSET", "write a whole number")
    return int(tree["literal"]["text"].replace("_", ""))


def item_number(tree: Tree, count: int) -> int | None:
    """The column of the select list that a whole number stands for, from 0; None if it is no number."""
    if tree["class"] != "CONSTANT" or tree["literal"]["kind"] != "INTEGER":
        return None
    number = _whole_number(tree)
    if not 1 <= number <= count:
        raise of_place(InvalidSql(f"there is no column {number}; the select list has {count}"), tree)
    return number - 1


def orders_of(tree: Tree, count: int, by_name: Mapping[str, int]) -> list[Order]:
    """The parts of an ORDER BY; by ALL there is one a column."""
    expression = tree["expression"]
    direction = (tree["type"] == "DESCENDING", tree["null_order"] == "NULLS FIRST")
    if expression["class"] == "STAR" and expression["columns"] and expression["expr"] is None:
        return [Order(place, None, *direction) for place in range(count)]
    item = item_number(expression, count)
    if item is None:
        item = by_name.get(folded(comparable_name(expression))) if comparable_name(expression) else None
    return [Order(item, expression if item is None else None, *direction)]


def first_placed(tree: Tree) -> Tree:
    """The first tree within that has a place in the text."""
    if location(tree) is not None:
        return tree
    placed = (found for each in children(tree) if location(found := first_placed(each)) is not None)
    return next(placed, tree)
