"""How many rows and bytes the steps of a plan are likely to have.

The rules are simple and said here, since DuckDB's own guesses need tables with statistics, and inputs are streams:

- a filter, also one in a join without keys, keeps a third; a semi or anti join half of the left side; removing duplicates half;
- a join by keys has as many rows as its larger side, an as-of join as its left side, a cross join all pairs;
- an aggregation has a tenth as many groups as rows, or one;
- a value has the bytes of its type, 24 for texts and bytes and 64 for lists, maps and structs, or what the inputs' bytes say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from servers.processing.plan.binding import BoundNode, BoundPlan
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKind,
    Project,
    PythonFunction,
    Scan,
    Top,
    Union,
    Window,
    inputs_of,
)

_BYTES = {
    "BOOLEAN": 1, "TINYINT": 1, "UTINYINT": 1, "SMALLINT": 2, "USMALLINT": 2, "INTEGER": 4, "UINTEGER": 4, "FLOAT": 4, "DATE": 4,
    "VARCHAR": 24, "BLOB": 24, "HUGEINT": 16, "UHUGEINT": 16, "UUID": 16, "INTERVAL": 16,
}  # fmt: skip
_NESTED_BYTES = 64
_OTHER_BYTES = 8
_MOST = 2**63 - 1
"""Many pairs of pairs are more than a message can say."""


@dataclass(frozen=True)
class InputSize:
    """How large an input is.

    Args:
        rows: Of the input.
        bytes: In memory, all columns; None if unknown.
    """

    rows: int
    bytes: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What a step is likely to have.

    Args:
        rows: Of its result.
        bytes: Of its result.
        held_bytes: That it has to hold at one time; what does not fit into memory is spilled.
    """

    rows: int
    bytes: int
    held_bytes: int


def estimates(plan: BoundPlan, sizes: Mapping[str, InputSize]) -> dict[str, Estimate]:
    """Returns an estimate of each node by name.

    Args:
        plan: The nodes.
        sizes: Of every input that is read.
    """
    found: dict[str, Estimate] = {}
    for name, bound in plan.nodes.items():
        inputs = [found[each] for each in inputs_of(bound.node)]
        rows = min(max(0, math.ceil(_rows(bound, inputs, sizes))), _MOST)
        size = min(math.ceil(rows * _row_bytes(bound, plan, sizes)), _MOST)
        found[name] = Estimate(rows, size, min(_held(bound, inputs, size), _MOST))
    return found


def smaller_than(most_bytes: int, found: Mapping[str, Estimate]) -> Callable[[str], bool]:
    """Returns what says of a node whether its rows are few enough to be given to every partition."""
    return lambda name: found[name].bytes <= most_bytes


def _rows(bound: BoundNode, inputs: list[Estimate], sizes: Mapping[str, InputSize]) -> float:
    rows = [each.rows for each in inputs]
    match bound.node:
        case Scan(source=source):
            return sizes[source].rows
        case Filter():
            return rows[0] / 3
        case Project() | Window() | PythonFunction() | AsOfJoin():
            return rows[0]
        case CrossJoin():
            return rows[0] * rows[1]
        case Join(kind=JoinKind.SEMI | JoinKind.ANTI):
            return rows[0] / 2
        case Join(keys=()):
            return max(rows[0] * rows[1] / 3, *rows)
        case Join():
            return max(rows)
        case Aggregate(keys=()):
            return 1
        case Aggregate():
            return rows[0] / 10
        case Deduplicate():
            return rows[0] / 2
        case Top(limit=limit, offset=offset):
            left = max(0, rows[0] - offset)
            return left if limit is None else min(limit, left)
        case Union(is_distinct=is_distinct):
            return sum(rows) / (2 if is_distinct else 1)
    raise AssertionError(bound.node)


def _row_bytes(bound: BoundNode, plan: BoundPlan, sizes: Mapping[str, InputSize]) -> float:
    by_type = sum(_value_bytes(column.type) for column in bound.columns)
    if isinstance(bound.node, Scan):
        size = sizes[bound.node.source]
        whole = len(bound.columns) == len(plan.sources[bound.node.source])
        if size.bytes is not None and size.rows and whole:
            return size.bytes / size.rows
    return by_type


def _value_bytes(type_name: str) -> int:
    if re.search(r"[\[(]", type_name) and not type_name.startswith("DECIMAL"):
        return _NESTED_BYTES
    return 16 if type_name.startswith("DECIMAL") else _BYTES.get(type_name, _OTHER_BYTES)


def _held(bound: BoundNode, inputs: list[Estimate], size: int) -> int:
    match bound.node:
        case Join() | CrossJoin():
            return inputs[1].bytes
        case AsOfJoin():
            return inputs[0].bytes + inputs[1].bytes
        case Aggregate() | Top() | Union(is_distinct=True):
            return size
        case Window() | Deduplicate():
            return inputs[0].bytes
        case PythonFunction(partition_by=partition_by):
            return inputs[0].bytes if partition_by else 0
    return 0
