"""Row conditions: which rows an expectation looks at.

Understood are the objects of GX 1.x (`comparison`, `nullity`, `and`, `or`) and, as text, this subset of what pandas' `query` and GX's own
parser take:

    col("age") >= 18 and not country in ["CH", "LI"]
    col("name").notnull()      name.isnull()      col("day") < date("2026-01-01")

A column (`col("name")` or a plain name) is compared (== != < <= > >= in, not in) with a literal. `and`, `or`, `not` (also `&`, `|`, `~`)
and parentheses join comparisons. Python's own parser reads the text; nothing is ever evaluated. A comparison with a missing value holds for
no row, as in SQL, and neither does its negation.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import polars as pl

from servers.ingestion.expectations import limits
from servers.ingestion.expectations.arguments import scalar, text, value_set
from servers.ingestion.expectations.errors import CannotRun, Reason

if TYPE_CHECKING:
    from servers.ingestion.expectations.column import Column


@dataclass(frozen=True)
class Comparison:
    """A column beside a literal: == != < <= > >= IN NOT_IN."""

    column: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Nullity:
    """A column that is missing, or is not."""

    column: str
    is_null: bool


@dataclass(frozen=True)
class Junction:
    """Conditions of which all, or any, or (of the only one) none holds."""

    word: str
    conditions: tuple[Condition, ...]


Condition = Comparison | Nullity | Junction

# Before Python 3.12.2, parsing fails now and then where several threads do it at once (gh-106905).
_PARSER = threading.Lock()

_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "IN",
    ast.NotIn: "NOT_IN",
}
_NULL_METHODS = {"isnull": True, "isna": True, "notnull": False, "notna": False}


def row_condition(value: object) -> object:
    """Accept a condition in one of both forms, and return it as it was written."""
    parsed(value)
    return value


def parsed(value: object) -> Condition:
    """Return the condition of a text or an object.

    Raises:
        ValueError: It is outside the subset; says what is not understood.
    """
    if isinstance(value, Mapping):
        condition = _from_object(value)
    elif isinstance(value, str):
        if len(value) > limits.MAX_PATTERN_CHARACTERS:
            raise ValueError(f"a condition of at most {limits.MAX_PATTERN_CHARACTERS} characters")
        try:
            with _PARSER:
                syntax = ast.parse(value.strip(), mode="eval")
            condition = _from_syntax(syntax.body)
        except (SyntaxError, RecursionError, MemoryError):
            raise ValueError('a condition such as col("age") >= 18 and name.notnull()') from None
    else:
        raise ValueError("a condition, as text or object")
    if _size(condition) > limits.MAX_CONDITIONS:
        raise ValueError(f"at most {limits.MAX_CONDITIONS} comparisons")
    return condition


def _size(condition: Condition) -> int:
    return sum(map(_size, condition.conditions)) if isinstance(condition, Junction) else 1


def _from_object(value: object, depth: int = 0) -> Condition:
    if depth > 8:
        raise ValueError("conditions nested at most 8 deep")
    match value:
        case {"type": "comparison", "column": column, "operator": operator, "parameter": parameter}:
            if operator not in _OPERATORS.values():
                raise ValueError(f"an operator out of {' '.join(_OPERATORS.values())}")
            return _comparison(_column_of(column), operator, parameter)
        case {"type": "nullity", "column": column, "is_null": bool(is_null)}:
            return Nullity(_column_of(column), is_null)
        case {"type": "and" | "or" as word, "conditions": list(conditions)} if conditions:
            return Junction(word, tuple(_from_object(each, depth + 1) for each in conditions))
    raise ValueError('an object of type "comparison", "nullity", "and" or "or"')


def _column_of(value: object) -> str:
    return text(value.get("name") if isinstance(value, Mapping) else value)


def _comparison(column: str, operator: str, value: object) -> Comparison:
    if operator in ("IN", "NOT_IN"):
        return Comparison(column, operator, value_set(value))
    return Comparison(column, operator, scalar(value))


def _from_syntax(node: ast.expr) -> Condition:
    match node:
        case ast.BoolOp(op, values):
            return Junction("and" if isinstance(op, ast.And) else "or", tuple(map(_from_syntax, values)))
        case ast.BinOp(left, ast.BitAnd() | ast.BitOr() as op, right):
            return Junction("and" if isinstance(op, ast.BitAnd) else "or", (_from_syntax(left), _from_syntax(right)))
        case ast.UnaryOp(ast.Not() | ast.Invert(), operand):
            return Junction("not", (_from_syntax(operand),))
        case ast.Compare(left, [operator], [right]) if type(operator) in _OPERATORS:
            return _comparison(_column(left), _OPERATORS[type(operator)], _literal(right))
        case ast.Call(ast.Attribute(of, method), [], []) if method in _NULL_METHODS:
            return Nullity(_column(of), _NULL_METHODS[method])
    raise ValueError(f"comparisons of a column with a literal; {ast.unparse(node)[:80]!r} is none")


def _column(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Call(ast.Name("col"), [ast.Constant(str(name))], []):
            return text(name)
    raise ValueError(f'a column\'s name or col("name") in place of {ast.unparse(node)[:80]!r}')


def _literal(node: ast.expr) -> object:
    match node:
        case ast.Call(ast.Name("date"), [ast.Constant(str(day))], []):
            return day
        case ast.Constant(str() | int() | float() as value):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
        case ast.List(entries) | ast.Tuple(entries):
            return [_literal(entry) for entry in entries]
    raise ValueError(f"a number, text or list in place of {ast.unparse(node)[:80]!r}")


def holds(condition: Condition, column: Callable[[str], Column]) -> pl.Expr:
    """Return whether the condition holds for each row; never null.

    Args:
        condition: What was parsed.
        column: Looks a column up.

    Raises:
        CannotRun: A column is missing, or does not compare with its literal.
    """
    return _truth(condition, column).fill_null(False)


def _truth(condition: Condition, column: Callable[[str], Column]) -> pl.Expr:
    from servers.ingestion.expectations.literals import compared, is_in

    match condition:
        case Nullity(name, is_null):
            value = column(name).value
            return value.is_null() if is_null else value.is_not_null()
        case Comparison(name, "==", value):
            return is_in(column(name), [value])
        case Comparison(name, "!=", value):
            return ~is_in(column(name), [value])
        case Comparison(name, "IN", values):
            return is_in(column(name), values)
        case Comparison(name, "NOT_IN", values):
            return ~is_in(column(name), values)
        case Comparison(name, operator, value):
            return compared(column(name), operator, value)
        case Junction("not", (only,)):
            return ~_truth(only, column)
        case Junction(word, conditions):
            truths = [_truth(each, column) for each in conditions]
            return reduce(lambda left, right: left & right, truths) if word == "and" else reduce(lambda left, right: left | right, truths)
    raise CannotRun(Reason.ENGINE_ERROR, "There is no such condition.")
