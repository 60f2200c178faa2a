"""Steps of a plan, by one call each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mlops.processing.v1 import plan_pb2 as pb

from servers.runtime.sql_names import folded, quoted

Expressions = Mapping[str, str]
"""Expressions by the name of the column that they compute."""

SECOND = "_right"
"""What a join puts behind names of the right side that the left side has."""

Keys = Sequence[tuple[str, str]]
"""Columns of the left and the right side."""


def unchanged(names: Iterable[str]) -> dict[str, str]:
    """Columns that stay what they are."""
    return {name: quoted(name) for name in names}


def scan(name: str, source: str, columns: Iterable[str]) -> pb.Step:
    """Columns of an input, each once."""
    return pb.Step(name=name, scan=pb.Scan(source=source, columns={folded(column): column for column in columns}.values()))


def project(name: str, source: str, columns: Expressions) -> pb.Step:
    """Computed columns."""
    return pb.Step(name=name, project=pb.Project(input=source, columns=_computed(columns)))


def extended(name: str, source: str, columns: Expressions) -> pb.Step:
    """All columns, and computed ones."""
    return pb.Step(name=name, project=pb.Project(input=source, columns=_computed(columns), keeps_others=True))


def filtered(name: str, source: str, condition: str) -> pb.Step:
    """Rows for which a condition is true."""
    return pb.Step(name=name, filter=pb.Filter(input=source, condition=condition))


def aggregate(name: str, source: str, keys: Iterable[str], aggregations: Expressions) -> pb.Step:
    """One row a key."""
    return pb.Step(name=name, aggregate=pb.Aggregate(input=source, keys=_computed(unchanged(keys)), aggregations=_computed(aggregations)))


def join(name: str, left: str, right: str, keys: Keys, kind: pb.JoinKind.ValueType, condition: str = "") -> pb.Step:
    """Pairs of rows with equal keys for which a condition holds."""
    return pb.Step(name=name, join=pb.Join(left=left, right=right, keys=_keys(keys), kind=kind, condition=condition))


def as_of_join(name: str, left: str, right: str, keys: Keys, times: tuple[str, str], *, is_strict: bool) -> pb.Step:
    """The newest right row for each left one."""
    return pb.Step(
        name=name,
        as_of_join=pb.AsOfJoin(
            left=left, right=right, keys=_keys(keys), left_time=times[0], right_time=times[1], is_strict=is_strict, kind=pb.JOIN_KIND_LEFT
        ),
    )


def cross_join(name: str, left: str, right: str) -> pb.Step:
    """Every pair of rows; the right side is small."""
    return pb.Step(name=name, cross_join=pb.CrossJoin(left=left, right=right))


def window(name: str, source: str, partition_by: Iterable[str], order_by: Iterable[str], columns: Iterable[pb.WindowColumn]) -> pb.Step:
    """Columns computed over rows of the same partition."""
    orders = [pb.Ordering(column=column) for column in order_by]
    return pb.Step(name=name, window=pb.Window(input=source, partition_by=partition_by, order_by=orders, columns=columns))


def first_of_each(name: str, source: str, keys: Iterable[str], newest_first: Iterable[str]) -> pb.Step:
    """The first row of each key, by some columns from the greatest down, then by all."""
    orders = [pb.Ordering(column=column, is_descending=True) for column in newest_first]
    return pb.Step(name=name, deduplicate=pb.Deduplicate(input=source, keys=keys, order_by=orders))


def _computed(columns: Expressions) -> list[pb.ComputedColumn]:
    return [pb.ComputedColumn(name=name, expression=expression) for name, expression in columns.items()]


def _keys(keys: Keys) -> list[pb.JoinKey]:
    return [pb.JoinKey(left=left, right=right) for left, right in keys]
