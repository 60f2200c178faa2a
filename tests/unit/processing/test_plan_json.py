"""Plans go to JSON and come back the same."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from servers.processing.plan.errors import InvalidPlan
from servers.processing.plan.nodes import Filter, Join, JoinKey, JoinKind, Node, Scan
from servers.processing.plan.plan import Plan
from servers.processing.plan.plan_json import plan_from_json, plan_to_json
from servers.processing.plan.steps import CompositeStep

STEPS = [*typing.get_args(Node), *typing.get_args(CompositeStep)]
_texts = st.text(st.characters(codec="utf-8"), max_size=5)
_scalars: dict[Any, SearchStrategy[Any]] = {
    str: _texts,
    int: st.integers(-(2**63) + 1, 2**63 - 1),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
}


def values(wanted: Any) -> SearchStrategy[Any]:
    if typing.get_origin(wanted) is tuple:
        return st.lists(values(typing.get_args(wanted)[0]), max_size=2).map(tuple)
    if isinstance(wanted, types.UnionType):
        return st.none() | values(typing.get_args(wanted)[0])
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return st.sampled_from(list(wanted))
    if dataclasses.is_dataclass(wanted):
        return st.builds(wanted, **{name: values(each) for name, each in typing.get_type_hints(wanted).items()})
    return _scalars[wanted]


plans = st.builds(
    Plan, st.lists(st.one_of([values(each) for each in STEPS]), max_size=3).map(tuple), st.lists(_texts, max_size=2).map(tuple)
)


@settings(max_examples=200)
@given(plan=plans)
def test_a_plan_comes_back_as_it_was(plan: Plan) -> None:
    assert plan_from_json(plan_to_json(plan)) == plan


def test_json_is_short_and_reads_well() -> None:
    plan = Plan((Scan("a", "events"), Join("j", "a", "b", (JoinKey("x", "y"),), JoinKind.LEFT)), ("j",))

    assert json.loads(plan_to_json(plan)) == {
        "steps": [
            {"type": "SCAN", "name": "a", "source": "events"},
            {"type": "JOIN", "name": "j", "left": "a", "right": "b", "keys": [{"left": "x", "right": "y"}], "kind": "LEFT"},
        ],
        "outputs": ["j"],
    }


SCAN: dict[str, Any] = {"type": "SCAN", "name": "a", "source": "s"}
TOP: dict[str, Any] = {"type": "TOP", "name": "a", "input": "s", "order_by": []}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{**SCAN, "type": "SCAM"}], r"steps\[0\].type is 'SCAM', which is no step; did you mean 'SCAN'"),
        ([{"name": "a"}], r"steps\[0\].type is 'None'"),
        ([{**SCAN, "type": ["SCAN"]}], r"steps\[0\].type"),
        (["SCAN"], r"steps\[0\] has to be an object"),
        ({}, "steps has to be a list"),
        ([{**SCAN, "colums": []}], r"steps\[0\] has the field 'colums', which is unknown; did you mean 'columns'"),
        ([SCAN, {"type": "FILTER", "name": "f", "input": "a"}], r"steps\[1\].condition is missing"),
        ([{**SCAN, "name": 5}], r"steps\[0\].name has to be a text"),
        ([{**SCAN, "columns": "a"}], r"steps\[0\].columns has to be a list"),
        ([{**SCAN, "columns": [None]}], r"steps\[0\].columns\[0\] has to be a text"),
        ([{**TOP, "limit": True}], r"steps\[0\].limit has to be a whole number"),
        ([{**TOP, "limit": 1.5}], r"steps\[0\].limit has to be a whole number"),
        ([{**TOP, "limit": 2**64}], r"steps\[0\].limit has to be a whole number of 64 bits"),
        ([{**TOP, "order_by": [{"column": "a", "is_descending": 1}]}], r"steps\[0\].order_by\[0\].is_descending has to be true or false"),
        ([{"type": "JOIN", "name": "j", "left": "a", "right": "b", "keys": [], "kind": "OUTER"}], "has to be one of INNER, LEFT, RIGHT"),
        ([{"type": "SAMPLE", "name": "s", "input": "a", "fraction": "x"}], r"steps\[0\].fraction has to be a number"),
        ([{**SCAN, "name": "\ud800"}], "half of a surrogate pair"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(steps: Any, message: str) -> None:
    with pytest.raises(InvalidPlan, match=message):
        plan_from_json(json.dumps({"steps": steps, "outputs": ["a"]}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"steps": []}',
        '{"outputs": []}',
        '{"steps": [], "outputs": [], "x": 1}',
        "[" * 100_000,
        '{"steps": [{"type": "SAMPLE", "name": "s", "input": "a", "fraction": NaN}], "outputs": []}',
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlan):
        plan_from_json(text)


def test_defaults_may_be_left_out_or_given() -> None:
    short, long = ({"type": "FILTER", "name": "f", "input": "a", "condition": "true"}, {**TOP, "limit": None, "offset": 0, "columns": []})

    plan = plan_from_json(json.dumps({"steps": [short, long], "outputs": ["f"]}))

    assert plan.steps[0] == Filter("f", "a", "true")
    assert "limit" not in plan_to_json(plan)
