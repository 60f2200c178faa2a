"""Nodes that belong together as one SELECT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence

from servers.processing.plan.binding import BoundNode
from servers.processing.plan.nodes import Scan, TypedColumn, inputs_of
from servers.processing.plan.selects import Columns
from servers.processing.plan.types import TRAVELLING
from servers.runtime.sql_names import quoted

Place = tuple[str, int]
"""The input of a node, by the node's name and from 0; a scan's source is its input 0."""


def compiled(nodes: Sequence[BoundNode], relations: Mapping[Place, str], streams: Container[str]) -> str:
    """Returns one SELECT with the rows of the last node.

    A node that is read once is left to the optimiser as if it were written in place; one that is read more often is computed once.

    Args:
        nodes: Each after those that it reads; at least one.
        relations: SQL of what they read besides each other.
        streams: Which of these can be read once only.
    """
    uses = Counter(source for bound in nodes for source, _ in _reads(bound, relations))
    read_again = [each for each in dict.fromkeys(relations.values()) if uses[each] > 1 and each in streams]
    kept = {each: f"kept_{number}" for number, each in enumerate(read_again)}
    parts = [f"{name} AS MATERIALIZED (SELECT * FROM {each})" for each, name in kept.items()]
    for bound in nodes[:-1]:
        name = _step(bound.node.name)
        parts.append(f"{name} AS {'MATERIALIZED' if uses[name] > 1 else 'NOT MATERIALIZED'} ({_select(bound, relations, kept)})")
    last = _select(nodes[-1], relations, kept)
    # The last one stands outside, so that its ORDER BY is that of the statement.
    return f"WITH {', '.join(parts)} {_without_with(last)}" if parts else last


def leaving(sql: str, columns: Columns) -> str:
    """A SELECT whose rows are in types that Arrow has."""
    if not any(column.type in TRAVELLING for column in columns):
        return sql
    return f"SELECT {', '.join(_cast(column, TRAVELLING.get(column.type)) for column in columns)} FROM ({sql})"


def arriving(relation: str, columns: Columns) -> str:
    """A relation whose rows have left a SELECT, in the types that they had before."""
    if not any(column.type in TRAVELLING for column in columns):
        return relation
    return f"(SELECT {', '.join(_cast(column, column.type if column.type in TRAVELLING else None) for column in columns)} FROM {relation})"


def places(bound: BoundNode) -> tuple[Place, ...]:
    """The inputs of a node."""
    count = 1 if isinstance(bound.node, Scan) else len(inputs_of(bound.node))
    return tuple((bound.node.name, place) for place in range(count))


def _reads(bound: BoundNode, relations: Mapping[Place, str]) -> Iterator[tuple[str, Place]]:
    for place in places(bound):
        for _ in range(bound.select.template.reads(place[1])):
            yield _source(bound, place, relations), place


def _select(bound: BoundNode, relations: Mapping[Place, str], kept: Mapping[str, str]) -> str:
    sources = [_source(bound, place, relations) for place in places(bound)]
    return bound.select.template.over(*(kept.get(source, source) for source in sources))


def _source(bound: BoundNode, place: Place, relations: Mapping[Place, str]) -> str:
    return relations[place] if place in relations else _step(inputs_of(bound.node)[place[1]])


def _cast(column: TypedColumn, type_name: str | None) -> str:
    name = quoted(column.name)
    return name if type_name is None else f"CAST({name} AS {type_name}) AS {name}"


def _step(name: str) -> str:
    return quoted(f"step_{name}")


def _without_with(select: str) -> str:
    return f"SELECT * FROM ({select})" if select.startswith("WITH ") else select
