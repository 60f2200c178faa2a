"""A plan as text: what each step gives, how it is cut into stages, and what it is likely to cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.estimates import Estimate, InputSize, estimates, smaller_than
from servers.processing.plan.nodes import Scan, inputs_of
from servers.processing.stages.cutting import cut
from servers.processing.stages.stage import ExchangeKind, StagedPlan, StageInput

BROADCAST_BYTES = 16 << 20
"""Up to which estimated size a side of a join is given to every partition."""

_COLUMNS_SHOWN = 20


def explained(plan: BoundPlan, sizes: Mapping[str, InputSize] | None = None, broadcast_bytes: int = BROADCAST_BYTES) -> str:
    """Returns a plan as text.

    Args:
        plan: What to explain.
        sizes: Of all inputs; without them there are no estimates and nothing is broadcast.
        broadcast_bytes: See `BROADCAST_BYTES`.
    """
    found = estimates(plan, sizes) if sizes is not None else {}
    staged = cut(plan, smaller_than(broadcast_bytes, found)) if found else cut(plan)
    lines = [*_step_lines(plan, found), *_stage_lines(staged)]
    if found:
        lines += _cost_lines(plan, staged, found)
    return "\n".join(lines)


def _step_lines(plan: BoundPlan, found: Mapping[str, Estimate]) -> Iterator[str]:
    yield "steps:"
    for name, bound in plan.nodes.items():
        node = bound.node
        origin = f"input {node.source!r}" if isinstance(node, Scan) else ", ".join(inputs_of(node))
        mark = " (output)" if name in plan.outputs else ""
        yield f"  {name}: {type(node).__name__} of {origin}{mark}{_size(found.get(name))}"
        shown = [f"{column.name} {column.type}" for column in bound.columns[:_COLUMNS_SHOWN]]
        more = len(bound.columns) - len(shown)
        yield f"    {', '.join(shown)}{f' and {more} more' if more else ''}"


def _stage_lines(staged: StagedPlan) -> Iterator[str]:
    yield "stages:"
    for stage in staged.stages:
        partitions = "one partition" if stage.is_single else "many partitions"
        by = f", by {', '.join(stage.partitioned_by)}" if stage.partitioned_by else ""
        yield f"  {stage.name} ({partitions}{by}): {', '.join(stage.steps)}"
        for place, given in enumerate(stage.inputs):
            source = f"input {given.source!r}" if given.is_scan else f"stage {given.source}"
            yield f"    input_{place}: {source}, {_exchange(given)}"


def _exchange(given: StageInput) -> str:
    match given.exchange.kind:
        case ExchangeKind.KEEP:
            return "as it lies"
        case ExchangeKind.BROADCAST:
            return "all rows to every partition"
        case ExchangeKind.SINGLE:
            return "all rows to one partition"
        case ExchangeKind.HASH:
            return f"by hash of {', '.join(key.column for key in given.exchange.keys)}"


def _cost_lines(plan: BoundPlan, staged: StagedPlan, found: Mapping[str, Estimate]) -> Iterator[str]:
    by_source = {bound.node.source: name for name, bound in plan.nodes.items() if isinstance(bound.node, Scan)}
    inputs = [
        (given, found[by_source[given.source] if given.is_scan else given.source].bytes)
        for stage in staged.stages
        for given in stage.inputs
    ]
    read = sum(size for given, size in inputs if given.is_scan)
    moved = sum(size for given, size in inputs if given.exchange.kind is not ExchangeKind.KEEP)
    held = max(estimate.held_bytes for estimate in found.values())
    yield f"estimated: reads {_bytes(read)}, moves {_bytes(moved)} between partitions, holds at most {_bytes(held)} in one step"


def _size(estimate: Estimate | None) -> str:
    return "" if estimate is None else f", about {estimate.rows:,} rows, {_bytes(estimate.bytes)}"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
