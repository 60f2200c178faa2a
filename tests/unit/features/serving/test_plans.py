"""Plans are made once, and anew as soon as something has changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import KeyColumn, OnlineState, Selection, ViewVersion, Wanted
from servers.features.online import JoinKey, JoinKeyType
from servers.features.serving.errors import InvalidOnDemandFeature
from servers.features.serving.plans import ServingPlans


class Changing:
    """Definitions, states and a revision that a test changes."""

    def __init__(self) -> None:
        self.revision = 1
        self.generation = 0
        self.resolved: list[str] = []
        self.on_demand: tuple[pb.OnDemandFeature, ...] = ()

    def current(self, _max_age_s: float) -> int:
        return self.revision

    def of(self, ids: Sequence[str]) -> dict[str, OnlineState]:
        return {each: OnlineState(generation=self.generation) for each in ids}

    def resolve(self, project: str, service: str, version: int, selections: Sequence[pb.FeatureSelection]) -> Wanted:
        self.resolved.append(service or ",".join(each.view for each in selections))
        keys = (KeyColumn(JoinKey("id", JoinKeyType.INT64), "id"),)
        spec = pb.FeatureViewSpec(features=[pb.Feature(name="age", type="int32"), pb.Feature(name="name", type="string")])
        view = ViewVersion("id", "view", project, "v", version or 1, spec, keys, "rows", "", "me", datetime.now(UTC))
        return Wanted((Selection(view, ("name",), "a_"), Selection(view, ("name", "age"), "b_", {"id": "other"})), (), self.on_demand)


@pytest.fixture
def changing() -> Changing:
    return Changing()


def plans(changing: Changing, most_plans: int = 10) -> ServingPlans:
    return ServingPlans(changing.resolve, cast("Any", changing), cast("Any", changing), most_plans=most_plans)


def test_a_plan_is_kept_until_the_revision_changes(changing: Changing) -> None:
    made = plans(changing)
    first = made.plan("default", "s", 0, [])
    assert made.plan("default", "s", 0, []) is first
    changing.revision, changing.generation = 2, 7
    assert {each.view.rpartition(".")[2] for each in first.reads} == {"0"}
    assert {each.view.rpartition(".")[2] for each in made.plan("default", "s", 0, []).reads} == {"7"}
    assert changing.resolved == ["s", "s"]


def test_requests_that_differ_have_plans_of_their_own(changing: Changing) -> None:
    made = plans(changing)
    selections = [[pb.FeatureSelection(view=view, prefix=prefix)] for view in "ab" for prefix in ("", "p_")]
    asked: list[tuple[str, str, int, list[pb.FeatureSelection]]] = [
        ("default", "s", 0, []),
        ("other", "s", 0, []),
        ("default", "s", 2, []),
        *(("default", "", 0, each) for each in selections),
    ]
    assert len({id(made.plan(*each)) for each in asked * 2}) == len(asked) == len(changing.resolved)


def test_the_plan_that_was_not_used_for_longest_is_forgotten_first(changing: Changing) -> None:
    made = plans(changing, most_plans=2)
    for service in ("a", "b", "a", "c", "a", "b"):
        made.plan("default", service, 0, [])
    assert changing.resolved == ["a", "b", "c", "b"]


def test_a_plan_makes_each_key_once_and_knows_the_answer_but_for_its_values(changing: Changing) -> None:
    plan = plans(changing).plan("default", "s", 0, [])
    assert [each.names for each in plan.keys] == [("id",), ("other",)]
    assert [(read.keys, [column.place for column in read.columns]) for read in plan.reads] == [(0, [1]), (1, [1, 0])]
    assert plan.join_keys == {"id": JoinKeyType.INT64, "other": JoinKeyType.INT64}
    assert [(each.name, each.type, each.view, each.version) for each in plan.answer.features] == [
        ("a_name", "string", "v", 1),
        ("b_name", "string", "v", 1),
        ("b_age", "int32", "v", 1),
    ]


def test_a_service_with_a_wrong_expression_has_no_plan(changing: Changing) -> None:
    changing.on_demand = (pb.OnDemandFeature(name="x", expression="random()", type="float64"),)
    with pytest.raises(InvalidOnDemandFeature):
        plans(changing).plan("default", "s", 0, [])
