"""Two plans as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlops.processing.v1 import plan_pb2 as pb

_SOURCES = ("input", "left", "right")


def merged(steps: Sequence[pb.Step], more: Iterable[pb.Step], prefix: str) -> tuple[list[pb.Step], dict[str, str]]:
    """Adds the steps of another plan. What both do alike is done once.

    Args:
        steps: Of one plan.
        more: Of the other one; each comes after those that it reads.
        prefix: Put before the names of its steps.

    Returns:
        All steps, and the name that each step of the other plan has among them.
    """
    result, names = list(steps), dict[str, str]()
    known = {_content(step): step.name for step in steps}
    for step in more:
        moved = _reading(step, names)
        content = _content(moved)
        if content not in known:
            moved.name = known[content] = f"{prefix}{step.name}"
            result.append(moved)
        names[step.name] = known[content]
    return result, names


def _reading(step: pb.Step, names: dict[str, str]) -> pb.Step:
    """The same step over other names."""
    moved = pb.Step()
    moved.CopyFrom(step)
    kind = getattr(moved, moved.WhichOneof("kind") or "scan")
    fields = kind.DESCRIPTOR.fields_by_name
    for field in _SOURCES:
        if field in fields:
            setattr(kind, field, names[getattr(kind, field)])
    if "inputs" in fields:
        kind.inputs[:] = [names[each] for each in kind.inputs]
    return moved


def _content(step: pb.Step) -> bytes:
    without_name = pb.Step()
    without_name.CopyFrom(step)
    without_name.ClearField("name")
    return without_name.SerializeToString(deterministic=True)
