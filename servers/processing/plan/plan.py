"""A plan: steps, which of them are outputs, and whether they make a graph that can be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from servers.processing.plan.errors import DuplicateStep, InvalidPlan, InvalidStep, PlanCycle, PlanTooLarge, UnknownStep, near, shown
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.names import is_step_name
from servers.processing.plan.nodes import Node, inputs_of
from servers.processing.plan.steps import CompositeStep, Encode, Impute, Sample, Scale, Split
from servers.runtime.sql_names import folded

Step = Node | CompositeStep


@dataclass(frozen=True)
class Plan:
    """What a job computes.

    Args:
        steps: In any order.
        outputs: Names of the steps whose rows are wanted.
    """

    steps: tuple[Step, ...]
    outputs: tuple[str, ...]


def step_inputs(step: Step) -> tuple[str, ...]:
    """Names of the steps that a step reads."""
    return (step.input,) if isinstance(step, Sample | Split | Impute | Scale | Encode) else inputs_of(step)


def in_order(plan: Plan, limits: PlanLimits) -> tuple[Step, ...]:
    """Returns the steps so that each comes after those that it reads.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: too many steps, names that are wrong, missing or used twice, a cycle, no outputs, or a step
            that no output needs.
    """
    if len(plan.steps) > limits.steps:
        raise PlanTooLarge(f"the plan has {len(plan.steps)} steps; at most {limits.steps} are allowed")
    steps = _by_name(plan.steps)
    for step in plan.steps:
        _check_names(step_inputs(step), steps, step.name)
    if not plan.outputs:
        raise InvalidPlan("the plan has no outputs; name the steps whose rows are wanted")
    _check_names(plan.outputs, steps, None)
    if len(set(plan.outputs)) < len(plan.outputs):
        raise DuplicateStep("a step is twice among the outputs; name it once")
    ordered = _sorted(steps)
    _check_needed(plan, steps)
    return tuple(steps[name] for name in ordered)


def _by_name(steps: tuple[Step, ...]) -> dict[str, Step]:
    found: dict[str, str] = {}
    for step in steps:
        if not is_step_name(step.name):
            raise InvalidStep(
                "a step's name has a letter first, then letters, digits and underscores, at most 63 characters", step=step.name
            )
        if folded(step.name) in found:
            raise DuplicateStep(f"another step is named {shown(found[folded(step.name)])}; case does not count", step=step.name)
        found[folded(step.name)] = step.name
    return {step.name: step for step in steps}


def _check_names(names: tuple[str, ...], steps: Mapping[str, Step], step: str | None) -> None:
    for name in names:
        if name not in steps:
            what = "the outputs name" if step is None else "it reads"
            raise UnknownStep(f"{what} step {shown(name)}, which the plan has not{near(name, steps)}", step=step)


def _sorted(steps: Mapping[str, Step]) -> tuple[str, ...]:
    try:
        return tuple(TopologicalSorter({name: step_inputs(step) for name, step in steps.items()}).static_order())
    except CycleError as error:
        circle = error.args[1]
        raise PlanCycle(
            f"it needs its own rows: {' ← '.join(circle)}; a step can only read what does not read it", step=circle[0]
        ) from None


def _check_needed(plan: Plan, steps: Mapping[str, Step]) -> None:
    needed: set[str] = set()
    waiting = list(plan.outputs)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += step_inputs(steps[name])
    for name in steps:
        if name not in needed:
            raise InvalidPlan("no output needs it; add it to the outputs, or leave it out", step=name)
