"""Filters in memory: a function over a row that agrees with what `to_sql` selects."""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aip_filter.errors import FilterError
from aip_filter.matching import matches_text
from aip_filter.schema import Field, Getter, Kind, Schema, check_operator, value_of
from aip_filter.syntax import Conjunction, Expression, Literal, Negation, Node, Restriction

__all__ = ["Predicate", "to_predicate"]

Predicate: TypeAlias = Callable[[Mapping[str, Any]], bool]
_Test: TypeAlias = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operators.eq,
    ":": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def to_predicate(expression: Expression, schema: Schema) -> Predicate:
    """Return a filter as a function over rows.

    Args:
        expression: What `parse` returned.
        schema: The fields; each is read by its `getter`, or else as the row's entry of its name. None means missing.

    Raises:
        FilterError: If the filter names an unknown field, or compares one with what it cannot be compared with.
    """
    return (lambda _row: True) if expression.root is None else _node(expression.root, schema)


def _node(node: Node, schema: Schema) -> Predicate:
    if isinstance(node, Restriction):
        return _restriction(node, schema)
    if isinstance(node, Negation):
        inner = _node(node.operand, schema)
        return lambda row: not inner(row)
    parts = [_node(operand, schema) for operand in node.operands]
    if isinstance(node, Conjunction):
        return lambda row: all(part(row) for part in parts)
    return lambda row: any(part(row) for part in parts)


def _restriction(restriction: Restriction, schema: Schema) -> Predicate:
    name, field, key = schema.resolve(restriction)
    operator, literal = restriction.operator, restriction.literal
    get = _getter(name, field, key)
    if operator is None or literal is None:
        return _bare(restriction, name, field, key, get)
    if field.kind == "map" and key is None:
        return _has_key(restriction, name, operator, literal, get)
    kind = field.kind if key is None else field.value_kind
    label = name if key is None else f"{name}.{key}"
    check_operator(label, kind, operator, restriction.position)
    test = _test(label, kind, field, "=" if operator == "!=" else operator, literal)
    if operator == "!=":
        return lambda row: (value := get(row)) is None or not test(value)
    return lambda row: (value := get(row)) is not None and test(value)


def _getter(name: str, field: Field, key: str | None) -> Getter:
    whole = field.getter or (lambda row: row.get(name))
    if key is None:
        return whole
    return lambda row: (whole(row) or {}).get(key)


def _has_key(restriction: Restriction, name: str, operator: str, literal: Literal, get: Getter) -> Predicate:
    check_operator(name, "map", operator, restriction.position)
    if literal.has_wildcard:
        raise FilterError(f"write {name}:KEY to ask for a key; wildcards are not taken here", literal.position)
    return lambda row: literal.text in (get(row) or {})


def _bare(restriction: Restriction, name: str, field: Field, key: str | None, get: Getter) -> Predicate:
    if field.kind == "bool":
        return lambda row: get(row) is True
    if field.kind == "map" and key is not None:
        return lambda row: get(row) is not None
    raise FilterError(f'{name!r} alone says nothing; compare it, for example {name} = "…"', restriction.position, ("=", "!=", ":"))


def _test(name: str, kind: Kind, field: Field, operator: str, literal: Literal) -> _Test:
    if literal.is_presence and operator in {":", "="} and not (literal.is_quoted and operator == ":"):
        return lambda _value: True
    wanted = value_of(name, kind, literal, field.values)
    compare = _COMPARE[operator]
    if kind != "string":
        return lambda value: bool(compare(value, wanted))
    if operator == ":":
        return lambda value: wanted in value
    if literal.has_wildcard:
        if operator != "=":
            raise FilterError(
                f"* is a wildcard only with = and !=; with {operator} write it as \\* in quotes", literal.position, ("=", "!=")
            )
        return lambda value: matches_text(value, wanted, any_prefix=literal.any_prefix, any_suffix=literal.any_suffix)
    return lambda value: bool(compare(value, wanted))
