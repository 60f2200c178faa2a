"""Follows lineage through the generations, one question a generation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from model_management.model import LineageEdge, LineageGraph, ModelVersion, VersionReference

__all__ = ["trace"]

MAX_EDGES = 10_000
"""Where following stops, nearest generations first."""

_Step = Callable[[Collection[VersionReference]], Iterable[LineageEdge]]


def trace(start: ModelVersion, parents_of: _Step, children_of: _Step) -> LineageGraph:
    """Return the graph around a version.

    Args:
        start: Where to begin.
        parents_of: Gives the edges that lead to versions.
        children_of: Gives the edges that lead from versions.
    """
    return LineageGraph(
        lineage=start.lineage,
        ancestors=_follow(start.reference, parents_of, lambda edge: edge.parent),
        descendants=_follow(start.reference, children_of, lambda edge: edge.child),
    )


def _follow(start: VersionReference, step: _Step, far_end: Callable[[LineageEdge], VersionReference]) -> tuple[LineageEdge, ...]:
    seen = {start}
    generation = {start}
    edges: list[LineageEdge] = []
    while generation and len(edges) < MAX_EDGES:
        found = sorted(step(generation), key=lambda edge: (edge.parent, edge.child))
        edges += found
        generation = {far_end(edge) for edge in found} - seen
        seen |= generation
    return tuple(edges[:MAX_EDGES])
