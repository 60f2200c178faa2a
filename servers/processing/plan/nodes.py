"""The relational core of a plan: every node makes one relation of others.

Inputs are named by the step that makes them. Expressions are DuckDB SQL over the columns of the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import assert_never


@dataclass(frozen=True)
class Column:
    """A column of a result and the expression that computes it."""

    name: str
    expression: str


@dataclass(frozen=True)
class WindowColumn:
    """A column computed over a window.

    Args:
        name: Of the column.
        call: One call of an aggregate or window function, such as `lag(price, 1)` or `sum(x) FILTER (WHERE ok)`.
        frame: Such as `ROWS BETWEEN 6 PRECEDING AND CURRENT ROW`; empty for SQL's default frame.
    """

    name: str
    call: str
    frame: str = ""


@dataclass(frozen=True)
class Ordering:
    """One column to order by; nulls come last unless said."""

    column: str
    is_descending: bool = False
    is_nulls_first: bool = False


@dataclass(frozen=True)
class TypedColumn:
    """A column and its type, as DuckDB writes it: `BIGINT`, `DECIMAL(10,2)`, `VARCHAR[]`."""

    name: str
    type: str


@dataclass(frozen=True)
class JoinKey:
    """A column of either side that have to be equal."""

    left: str
    right: str


class JoinKind(Enum):
    """Which rows a join keeps."""

    INNER = "INNER"
    LEFT = "LEFT"
    RIGHT = "RIGHT"
    FULL = "FULL"
    SEMI = "SEMI"
    ANTI = "ANTI"


@dataclass(frozen=True)
class Scan:
    """Rows of an input of the job; all columns, or those named, in that order."""

    name: str
    source: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filter:
    """The rows for which a condition is true (neither false nor null)."""

    name: str
    input: str
    condition: str


@dataclass(frozen=True)
class Project:
    """Computed columns. With `keeps_others` they replace columns of their name, in place, or come after all others."""

    name: str
    input: str
    columns: tuple[Column, ...]
    keeps_others: bool = False


@dataclass(frozen=True)
class Join:
    """Pairs of rows whose keys are equal and for which the condition holds; null equals nothing.

    The result has all columns of the left side, then all of the right one; of the latter, those with a name that the left side
    has get `right_suffix`. SEMI and ANTI have the left side's columns only. `condition` uses these names, too. Without keys every
    pair is looked at.
    """

    name: str
    left: str
    right: str
    keys: tuple[JoinKey, ...]
    kind: JoinKind = JoinKind.INNER
    condition: str = ""
    right_suffix: str = "_right"


@dataclass(frozen=True)
class CrossJoin:
    """Every pair of rows; the right side is given to every partition, so it has to be small. Columns as in `Join`."""

    name: str
    left: str
    right: str
    right_suffix: str = "_right"


@dataclass(frozen=True)
class AsOfJoin:
    """For each left row the newest right row of its keys that is not newer than it.

    Columns as in `Join`. Of several right rows of the same time the first counts, ordered by the right side's columns from left
    to right.

    Args:
        name: Of the step.
        left: Step whose rows are looked at.
        right: Step with the rows that are looked up.
        keys: May be empty.
        left_time: A timestamp, date or number. Null matches nothing.
        right_time: Of the same kind.
        tolerance: Greatest difference, in seconds, or for numbers in their unit; None for any. What is older does not match.
        is_strict: Whether the right row has to be older.
        kind: INNER, or LEFT to keep rows without a match.
        right_suffix: As in `Join`.
    """

    name: str
    left: str
    right: str
    keys: tuple[JoinKey, ...]
    left_time: str
    right_time: str
    tolerance: float | None = None
    is_strict: bool = False
    kind: JoinKind = JoinKind.LEFT
    right_suffix: str = "_right"


@dataclass(frozen=True)
class Aggregate:
    """One row a key; without keys one row, also over no rows. Keys are expressions, aggregations have aggregate functions."""

    name: str
    input: str
    keys: tuple[Column, ...]
    aggregations: tuple[Column, ...]


@dataclass(frozen=True)
class Window:
    """The input's columns and others that are computed over the rows of the same partition.

    Where the order of rows counts, rows that `order_by` does not tell apart are ordered by all columns.
    """

    name: str
    input: str
    partition_by: tuple[str, ...]
    order_by: tuple[Ordering, ...]
    columns: tuple[WindowColumn, ...]


@dataclass(frozen=True)
class Deduplicate:
    """The first row of each key; null is a key like others. Ties are broken by all columns."""

    name: str
    input: str
    keys: tuple[str, ...]
    order_by: tuple[Ordering, ...] = ()


@dataclass(frozen=True)
class Top:
    """The first rows, all of them without a limit. Ties are broken by all columns. An output that is a `Top` comes in its order.

    Args:
        name: Of the step.
        input: Of which step.
        order_by: May be empty: then all columns decide.
        limit: Most rows; None for all.
        offset: How many rows are left out before.
        columns: Which columns the result has; empty for all.
    """

    name: str
    input: str
    order_by: tuple[Ordering, ...]
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Union:
    """The rows of several steps, which have the same columns in the same order; types become those that hold all."""

    name: str
    inputs: tuple[str, ...]
    is_distinct: bool = False


@dataclass(frozen=True)
class PythonFunction:
    """What a Python function returns for record batches.

    Args:
        name: Of the step.
        input: Of which step.
        source: Python source that defines the function.
        function: Its name. It takes a `pyarrow.RecordBatch` and returns one (or a `pyarrow.Table`). Where batches begin and end is
            not part of the contract. With `partition_by` it takes a `pyarrow.Table` with all rows of one key, ordered by all columns.
        schema: The columns that it returns.
        partition_by: Columns of which rows with equal values come together.
    """

    name: str
    input: str
    source: str
    function: str
    schema: tuple[TypedColumn, ...]
    partition_by: tuple[str, ...] = ()


Node = Scan | Filter | Project | Join | CrossJoin | AsOfJoin | Aggregate | Window | Deduplicate | Top | Union | PythonFunction


def inputs_of(node: Node) -> tuple[str, ...]:
    """Names of the steps that a node reads."""
    match node:
        case Scan():
            return ()
        case Join() | CrossJoin() | AsOfJoin():
            return (node.left, node.right)
        case Union():
            return node.inputs
        case Filter() | Project() | Aggregate() | Window() | Deduplicate() | Top() | PythonFunction():
            return (node.input,)
        case _:
            assert_never(node)
