"""Filters as SQL: an expression of SQLAlchemy Core that no NULL can make unknown."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import ColumnElement, and_, not_, or_, true

from aip_filter.errors import FilterError
from aip_filter.matching import ExactMatch
from aip_filter.schema import Field, Kind, Schema, anything, check_operator, value_of
from aip_filter.syntax import Conjunction, Expression, Literal, Negation, Node, Restriction

__all__ = ["to_sql"]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq,
    ":": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def to_sql(expression: Expression, schema: Schema) -> ColumnElement[bool]:
    """Return a filter as a condition for ``WHERE``.

    A missing value meets no comparison but ``!=``, which is exactly ``NOT … =``; so a filter and its negation part all rows in two.

    Args:
        expression: What `parse` returned.
        schema: The fields, each with a column or, for maps, with `entries`.

    Raises:
        FilterError: If the filter names an unknown field, or compares one with what it cannot be compared with.
    """
    return true() if expression.root is None else _node(expression.root, schema)


def _node(node: Node, schema: Schema) -> ColumnElement[bool]:
    if isinstance(node, Restriction):
        return _restriction(node, schema)
    if isinstance(node, Negation):
        return not_(_node(node.operand, schema))
    parts = [_node(operand, schema) for operand in node.operands]
    return and_(*parts) if isinstance(node, Conjunction) else or_(*parts)


def _restriction(restriction: Restriction, schema: Schema) -> ColumnElement[bool]:
    name, field, key = schema.resolve(restriction)
    operator, literal = restriction.operator, restriction.literal
    if operator is None or literal is None:
        return _bare(restriction, name, field, key)
    if field.kind == "map":
        return _entry(restriction, name, field, key, operator, literal)
    check_operator(name, field.kind, operator, restriction.position)
    if operator == "!=":
        return not_(_positive(name, field.kind, field, "=", literal))
    return _positive(name, field.kind, field, operator, literal)


def _positive(name: str, kind: Kind, field: Field, operator: str, literal: Literal) -> ColumnElement[bool]:
    column = field.column
    if column is None:
        raise TypeError(f"field {name!r} has no column")
    condition = condition_on(column, name, kind, field, operator, literal)
    return and_(column.is_not(None), condition) if field.is_nullable else condition


def _entry(restriction: Restriction, name: str, field: Field, key: str | None, operator: str, literal: Literal) -> ColumnElement[bool]:
    entries = field.entries
    if entries is None:
        raise TypeError(f"map {name!r} has no entries")
    if key is None:
        check_operator(name, "map", operator, restriction.position)
        if literal.has_wildcard:
            raise FilterError(f"write {name}:KEY to ask for a key; wildcards are not taken here", literal.position)
        return entries(literal.text, anything)
    label = f"{name}.{key}"
    check_operator(label, field.value_kind, operator, restriction.position)
    positive = "=" if operator == "!=" else operator
    found = entries(key, lambda value: condition_on(value, label, field.value_kind, field, positive, literal))
    return not_(found) if operator == "!=" else found


def _bare(restriction: Restriction, name: str, field: Field, key: str | None) -> ColumnElement[bool]:
    if field.kind == "bool" and field.column is not None:
        return and_(field.column.is_not(None), field.column.is_(True))
    if field.kind == "map" and key is not None and field.entries is not None:
        return field.entries(key, anything)
    raise FilterError(f'{name!r} alone says nothing; compare it, for example {name} = "…"', restriction.position, ("=", "!=", ":"))


def condition_on(column: ColumnElement[Any], name: str, kind: Kind, field: Field, operator: str, literal: Literal) -> ColumnElement[bool]:
    """Return the condition that a present value meets the comparison."""
    if literal.is_presence and operator in {":", "="} and not (literal.is_quoted and operator == ":"):
        return true()
    value = value_of(name, kind, literal, field.values)
    if kind != "string":
        return cast("ColumnElement[bool]", _COMPARE[operator](column, value))
    if operator == ":":
        return ExactMatch(column, value, any_prefix=True, any_suffix=True)
    if literal.has_wildcard:
        if operator != "=":
            raise FilterError(
                f"* is a wildcard only with = and !=; with {operator} write it as \\* in quotes", literal.position, ("=", "!=")
            )
        return ExactMatch(column, value, any_prefix=literal.any_prefix, any_suffix=literal.any_suffix)
    return cast("ColumnElement[bool]", _COMPARE[operator](column, value))
