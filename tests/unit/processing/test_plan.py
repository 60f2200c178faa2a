"""The graph of a plan."""

from __future__ import annotations

import pytest

from servers.processing.plan.errors import DuplicateStep, InvalidPlan, InvalidStep, PlanCycle, PlanTooLarge, UnknownStep
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Filter, Join, Scan, Union
from servers.processing.plan.plan import Plan, in_order

A, B = Scan("a", "s"), Filter("b", "a", "true")


def test_steps_come_after_those_that_they_read() -> None:
    joined = Join("d", "c", "a", ())
    plan = Plan((joined, Filter("c", "b", "true"), B, A), ("d",))

    assert [step.name for step in in_order(plan, PlanLimits())] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        (Plan((A,), ()), InvalidPlan, "no outputs"),
        (Plan((), ("a",)), UnknownStep, "the outputs name step 'a'"),
        (Plan((A, B), ("b", "b")), DuplicateStep, "twice among the outputs"),
        (Plan((A, A), ("a",)), DuplicateStep, "another step"),
        (Plan((A, Scan("A", "s")), ("a",)), DuplicateStep, "case does not count"),
        (Plan((B,), ("b",)), UnknownStep, "step 'b': it reads step 'a'"),
        (Plan((A, B), ("a",)), InvalidPlan, "step 'b': no output needs it"),
        (Plan((Union("x", ("y",)), Union("y", ("z",)), Union("z", ("x",))), ("x",)), PlanCycle, "it needs its own rows"),
        (Plan((Scan("a.b", "s"),), ("a.b",)), InvalidStep, "a letter first"),
        (Plan((Scan("é", "s"),), ("é",)), InvalidStep, "a letter first"),
        (Plan((Scan("a" * 64, "s"),), ("a",)), InvalidStep, "at most 63"),
        (Plan((A, B), ("b",)), PlanTooLarge, "2 steps; at most 1"),
    ],
)
def test_what_is_no_graph_is_refused(plan: Plan, error: type[InvalidPlan], message: str) -> None:
    with pytest.raises(error, match=message):
        in_order(plan, PlanLimits(steps=1) if error is PlanTooLarge else PlanLimits())


def test_a_long_chain_is_ordered_without_recursion() -> None:
    steps = (A, *(Filter(f"f{number}", f"f{number - 1}" if number else "a", "true") for number in range(5_000)))

    assert len(in_order(Plan(steps, ("f4999",)), PlanLimits(steps=10_000))) == 5_001
