from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.errors import InvalidTrainingSet, TrainingSetColumnTwice
from servers.features.offline.leaks import leak_plan
from servers.features.offline.retrieval import ColumnKind, OutputColumn, retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey

SPINE = Spine("labels", "at", ("customer", "label"))
VIEW = FeatureView("spending", "history", (ViewKey("customer", "id"),), "event", (Feature("amount"), Feature("count", "number")))
SET = TrainingSet(SPINE, (VIEW,), has_event_times=True, has_statuses=True)


def scans(plan: pb.Plan) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for step in plan.steps:
        if step.HasField("scan"):
            found.setdefault(step.scan.source, []).append(list(step.scan.columns))
    return found


def test_says_what_each_column_is() -> None:
    made = retrieval(SET)

    assert made.columns == (
        OutputColumn("customer", ColumnKind.SPINE, "", "customer"),
        OutputColumn("label", ColumnKind.SPINE, "", "label"),
        OutputColumn("amount", ColumnKind.FEATURE, "spending", "amount"),
        OutputColumn("number", ColumnKind.FEATURE, "spending", "count"),
        OutputColumn("spending__event_time", ColumnKind.EVENT_TIME, "spending", "event"),
        OutputColumn("spending__status", ColumnKind.STATUS, "spending", ""),
    )
    assert made.inputs == ("labels", "history")
    assert list(made.plan.outputs) == [made.output]
    assert [column.name for column in made.plan.steps[-1].project.columns] == [column.name for column in made.columns]


def test_only_what_is_needed_is_read_and_once() -> None:
    found = scans(retrieval(SET).plan)

    assert found == {
        "labels": [["customer", "label", "at"]],
        "history": [["id", "event", "amount", "count"]],
    }


def test_names_of_steps_are_those_of_plans_whatever_the_views_are_named() -> None:
    view = replace(VIEW, features=(Feature("amount"),))
    views = (replace(view, name="größe / day" * 20, prefix="a"), replace(view, name="日本", prefix="b"))

    for plan in (retrieval(TrainingSet(SPINE, views)).plan, leak_plan(TrainingSet(SPINE, views)).plan):
        names = [step.name for step in plan.steps]
        assert len({name.lower() for name in names}) == len(names)
        assert all(name.isascii() and name.replace("_", "a").isalnum() and name[0].isalpha() and len(name) <= 63 for name in names)


@pytest.mark.parametrize(
    ("training_set", "word"),
    [
        (replace(SET, views=()), "at least one"),
        (replace(SET, views=(VIEW, replace(VIEW, name="Spending", prefix="x"))), "case does not count"),
        (replace(SET, views=(replace(VIEW, features=()),)), "no features"),
        (replace(SET, views=(replace(VIEW, keys=(*VIEW.keys, ViewKey("label", "ID"))),)), "twice"),
        (replace(SET, views=(replace(VIEW, max_age=timedelta(seconds=-1)),)), "max_age"),
        (replace(SET, views=(replace(VIEW, event_time=""),)), "no name"),
        (replace(SET, views=(replace(VIEW, prefix="x" * 255),)), "no name"),
        (replace(SET, spine=replace(SPINE, columns=("a\x1fb",))), "no name"),
    ],
)
def test_what_cannot_be_used_is_refused(training_set: TrainingSet, word: str) -> None:
    for make in (retrieval, leak_plan):
        with pytest.raises(InvalidTrainingSet, match=word):
            make(training_set)


@pytest.mark.parametrize(
    "training_set",
    [
        replace(SET, spine=replace(SPINE, columns=("customer", "Customer"))),
        replace(SET, views=(replace(VIEW, features=(Feature("Label"),)),)),
        replace(SET, views=(VIEW, replace(VIEW, name="other"))),
        replace(SET, views=(replace(VIEW, features=(Feature("amount", "spending__STATUS"),)),)),
    ],
)
def test_two_columns_of_one_name_are_refused(training_set: TrainingSet) -> None:
    with pytest.raises(TrainingSetColumnTwice, match="prefix"):
        retrieval(training_set)
