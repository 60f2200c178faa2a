"""What steps of a plan are given: checked, as far as that can be said whatever the columns are, and as the contract has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlops.processing.v1 import plan_pb2

from mlmesh.errors import InvalidArgument

Names = str | Sequence[str]
"""One column, or several."""


@dataclass(frozen=True)
class Ordering:
    """A column to order by. Made by `asc` and `desc`.

    Args:
        column: The column.
        descending: Whether the greatest comes first.
        nulls_first: Whether nulls come first.
    """

    column: str
    descending: bool = False
    nulls_first: bool = False


Order = str | Ordering | Sequence[str | Ordering]
"""What is ordered by: columns, the least first, or what `asc` and `desc` make of them."""


def invalid_step(message: str) -> InvalidArgument:
    """The error about a step that is wrong whatever the columns are."""
    return InvalidArgument(message, reason="INVALID_STEP")


def some_text(value: object, what: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise invalid_step(f"{what} is {value!r}; it has to be a text, and not empty")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise invalid_step(f"{what} is {value!r}, which has half of a surrogate pair")
    return value


def text_or_none(value: str, what: str) -> str:
    """A text, or none."""
    return value if value == "" else some_text(value, what)


def whole_number(value: int, what: str, least: int = -(2**63)) -> int:
    """A whole number of 64 bits, not less than another."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise invalid_step(f"{what} is {value!r}; it has to be a whole number{', 0 or more' if least == 0 else ' of 64 bits'}")
    return value


def column_names(value: Names, what: str) -> tuple[str, ...]:
    """The names of columns, of which there may be none."""
    if isinstance(value, str):
        return (some_text(value, what),)
    if not isinstance(value, Iterable):
        raise invalid_step(f"{what} is {value!r}; it has to be the name of a column, or a list of names")
    return tuple(some_text(name, f"one of {what}") for name in value)


def some_columns(value: Names, method: str) -> tuple[str, ...]:
    """The names of one column or more."""
    names = column_names(value, "columns")
    if not names:
        raise invalid_step(f"{method} needs columns")
    return names


def computed_columns(columns: Mapping[str, str], more: Mapping[str, str]) -> list[plan_pb2.ComputedColumn]:
    """Columns and the expressions that compute them, from a mapping and from keywords."""
    for name in columns.keys() & more.keys():
        raise invalid_step(f"the column {name!r} is given twice")
    given = {**columns, **more}
    return [
        plan_pb2.ComputedColumn(name=some_text(name, "a column"), expression=some_text(value, f"the expression of {name!r}"))
        for name, value in given.items()
    ]


def column_itself(name: str) -> plan_pb2.ComputedColumn:
    """A column as it is."""
    # Only in quotes any name is the name of a column.
    return plan_pb2.ComputedColumn(name=name, expression='"' + name.replace('"', '""') + '"')


def join_keys(same: Names, left: Names, right: Names, what: str) -> list[plan_pb2.JoinKey]:
    """Columns that have to be equal: those that have one name on both sides, or those of each side."""
    both, lefts, rights = column_names(same, what), column_names(left, f"left_{what}"), column_names(right, f"right_{what}")
    if both and (lefts or rights):
        raise invalid_step(f"give either {what}, or left_{what} and right_{what}")
    if len(lefts) != len(rights):
        raise invalid_step(f"left_{what} has {len(lefts)} columns and right_{what} {len(rights)}; they have to be as many")
    return [plan_pb2.JoinKey(left=one, right=other) for one, other in zip(lefts or both, rights or both, strict=True)]


def orderings_of(order: Order) -> list[plan_pb2.Ordering]:
    """What is ordered by."""
    given = [order] if isinstance(order, str | Ordering) else order
    if not isinstance(given, Iterable):
        raise invalid_step(f"{order!r} is nothing to order by; give columns, or what asc and desc make of them")
    asked = [one if isinstance(one, Ordering) else Ordering(one) for one in given]
    return [
        plan_pb2.Ordering(
            column=some_text(one.column, "a column of an order"), is_descending=one.descending, is_nulls_first=one.nulls_first
        )
        for one in asked
    ]


def share_of_rows(value: float, what: str) -> float:
    """A share, above 0 and at most 1."""
    if not is_number(value) or not 0 < value <= 1:
        raise invalid_step(f"{what} is {value!r}; it has to be above 0 and at most 1")
    return float(value)


def is_number(value: object) -> bool:
    """Whether it is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)
