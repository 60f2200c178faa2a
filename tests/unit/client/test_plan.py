from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from mlmesh.errors import InvalidArgument
from mlmesh.plan import Relation, asc, desc, scan
from mlmesh.plan_messages import plan_message
from mlops.processing.v1 import plan_pb2


def doubled(batch: Any) -> Any:
    import pyarrow as pa

    return pa.RecordBatch.from_pydict({"id": [2 * one for one in batch.column("id").to_pylist()]})


FLIGHTS = scan("flights")
WEATHER = scan("weather", ["airport", "time"])
EVERY_STEP: dict[str, Relation] = {
    "scan": WEATHER,
    "filter": FLIGHTS.filter("delay > 15"),
    "project": FLIGHTS.with_columns(hour="hour(departure)"),
    "join": FLIGHTS.join(WEATHER, on="airport", how="left"),
    "cross_join": FLIGHTS.cross_join(WEATHER),
    "as_of_join": FLIGHTS.as_of_join(WEATHER, by=["airport"], time="departure", right_time="time", tolerance=timedelta(hours=1)),
    "aggregate": FLIGHTS.aggregate(by="carrier", mean_delay="avg(delay)"),
    "window": FLIGHTS.window(partition_by="carrier", order_by=desc("departure"), previous="lag(delay, 1)"),
    "deduplicate": FLIGHTS.deduplicate("id", order_by="departure"),
    "top": FLIGHTS.top(10, order_by=[desc("delay"), "id"]),
    "union": FLIGHTS.union(FLIGHTS.filter("delay > 15"), distinct=True),
    "python_function": FLIGHTS.map_batches(doubled, schema={"id": "BIGINT"}, by="id"),
    "sample": FLIGHTS.sample(0.1, seed=7, keys="id"),
    "split": FLIGHTS.split({"train": 0.8, "test": 0.2}, keys="id"),
    "impute": FLIGHTS.impute("delay", strategy="mean", fit_condition="split = 'train'"),
    "scale": FLIGHTS.scale(["delay", "distance"], kind="min_max"),
    "encode": FLIGHTS.encode({"carrier": ["UA", "AA"]}, kind="one_hot", unknown="other"),
}


def steps_of(*outputs: Relation) -> dict[str, Any]:
    plan, _ = plan_message(outputs)
    return {step["name"]: step for step in MessageToDict(plan, preserving_proto_field_name=True)["steps"]}


def only(kind: str, relation: Relation) -> dict[str, Any]:
    fields: dict[str, Any] = steps_of(relation)[kind][kind]
    return fields


def test_there_is_a_method_for_every_step_of_the_contract() -> None:
    assert EVERY_STEP.keys() == {field.name for field in plan_pb2.Step.DESCRIPTOR.oneofs_by_name["kind"].fields}
    for kind, relation in EVERY_STEP.items():
        plan, (name,) = plan_message([relation])
        (step,) = (step for step in plan.steps if step.name == name)
        assert step.WhichOneof("kind") == kind


def test_steps_say_what_was_asked_for() -> None:
    assert only("join", EVERY_STEP["join"]) == {
        "left": "flights",
        "right": "weather",
        "keys": [{"left": "airport", "right": "airport"}],
        "kind": "JOIN_KIND_LEFT",
        "right_suffix": "_right",
    }
    as_of = only("as_of_join", EVERY_STEP["as_of_join"])
    assert (as_of["left_time"], as_of["right_time"], as_of["tolerance"], as_of["kind"]) == ("departure", "time", 3600.0, "JOIN_KIND_LEFT")
    assert only("window", EVERY_STEP["window"])["order_by"] == [{"column": "departure", "is_descending": True}]
    assert only("top", EVERY_STEP["top"]) == {
        "input": "flights",
        "limit": "10",
        "order_by": [{"column": "delay", "is_descending": True}, {"column": "id"}],
    }
    assert "limit" not in only("top", FLIGHTS.sort(asc("id", nulls_first=True)))
    assert only("top", FLIGHTS.top(0))["limit"] == "0"
    assert only("split", EVERY_STEP["split"])["parts"] == [{"name": "train", "share": 0.8}, {"name": "test", "share": 0.2}]
    assert only("encode", EVERY_STEP["encode"])["unknown"] == "UNKNOWN_CATEGORY_OTHER"


def test_keys_of_different_names_are_paired() -> None:
    joined = only("join", FLIGHTS.join(WEATHER, left_on=["origin", "day"], right_on=["airport", "date"]))
    assert joined["keys"] == [{"left": "origin", "right": "airport"}, {"left": "day", "right": "date"}]


def test_a_column_is_selected_whatever_its_name() -> None:
    columns = only("project", FLIGHTS.select("id", 'per "hour"', {"per hour": "n / 60"}, late="delay > 15"))["columns"]
    assert [(one["name"], one["expression"]) for one in columns] == [
        ("id", '"id"'),
        ('per "hour"', '"per ""hour"""'),
        ("per hour", "n / 60"),
        ("late", "delay > 15"),
    ]


def test_columns_keep_the_order_in_which_they_are_written() -> None:
    made = only("aggregate", FLIGHTS.aggregate({"by": "count(*)"}, by={"hour": "hour(departure)"}, z="max(a)", a="min(a)"))
    assert [one["name"] for one in made["aggregations"]] == ["by", "z", "a"]
    assert made["keys"] == [{"name": "hour", "expression": "hour(departure)"}]


class TestNames:
    def test_they_say_what_a_step_does_and_scans_have_that_of_their_input(self) -> None:
        late = FLIGHTS.filter("delay > 15")
        assert list(steps_of(late.filter("carrier = 'UA'").join(WEATHER, "airport"))) == [
            "flights",
            "filter",
            "filter_2",
            "weather",
            "join",
        ]

    def test_given_ones_are_kept_and_made_ones_go_out_of_their_way(self) -> None:
        named = FLIGHTS.filter("a").named("Filter_2")
        assert list(steps_of(named.filter("b").filter("c").named("last").filter("d"))) == [
            "flights",
            "Filter_2",
            "filter",
            "last",
            "filter_3",
        ]

    def test_two_steps_with_one_name_are_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="two different steps have the name 'LATE'"):
            plan_message([FLIGHTS.filter("a").named("late").filter("b").named("LATE")])

    @pytest.mark.parametrize("name", ["", "1st", "by carrier", "späte", "a" * 64, "a\n", None])
    def test_what_is_no_name_is_refused(self, name: Any) -> None:
        with pytest.raises(InvalidArgument, match="is no name of a step"):
            FLIGHTS.named(name)

    def test_they_are_the_same_in_every_process(self) -> None:
        program = """
from mlmesh.plan import scan
from mlmesh.plan_messages import plan_message
flights = scan("flights")
joined = flights.filter("a").join(flights.filter("b"), "id").join(scan("f-2").sample(.5), "id")
plan, names = plan_message([joined, flights])
print(plan.SerializeToString(deterministic=True).hex(), names, joined)
"""
        made = {
            subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
            for seed in ("1", "2")
        }
        assert len(made) == 1


class TestSharedSteps:
    def test_a_relation_that_is_used_twice_is_one_step(self) -> None:
        late = FLIGHTS.filter("delay > 15")
        plan, names = plan_message([late.aggregate(n="count(*)"), late, late])
        assert [step.name for step in plan.steps] == ["flights", "filter", "aggregate"]
        assert (names, list(plan.outputs)) == (("aggregate", "filter", "filter"), ["aggregate", "filter"])

    def test_relations_that_are_built_alike_are_one_step(self) -> None:
        assert list(steps_of(scan("flights").filter("a"), scan("flights").filter("a"))) == ["flights", "filter"]
        assert list(steps_of(scan("flights").filter("a"), scan("flights", "id").filter("a"))) == [
            "flights",
            "filter",
            "flights_2",
            "filter_2",
        ]

    def test_a_side_is_joined_with_itself(self) -> None:
        joined = steps_of(FLIGHTS.join(FLIGHTS, "id"))["join"]["join"]
        assert (joined["left"], joined["right"]) == ("flights", "flights")

    def test_a_plan_that_shares_much_and_one_that_is_long_are_made_quickly(self) -> None:
        shared, long = FLIGHTS, FLIGHTS
        for place in range(200):
            shared = shared.union(shared)
            long = long.filter(f"a > {place}")
        for _ in range(10_000):
            long = long.filter("b")
        assert len(plan_message([shared])[0].steps) == 201
        assert len(plan_message([long])[0].steps) == 10_201


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: scan(""), "source is ''"),
    (lambda: FLIGHTS.filter(5), "condition is 5"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.filter(""), "condition is ''"),
    (lambda: FLIGHTS.filter("a = '\ud800'"), "half of a surrogate pair"),
    (FLIGHTS.select, "select needs columns"),
    (FLIGHTS.with_columns, "with_columns needs columns"),
    (lambda: FLIGHTS.with_columns(hour=5), "the expression of 'hour' is 5"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.with_columns({"a": "1"}, a="2"), "the column 'a' is given twice"),
    (lambda: FLIGHTS.join(WEATHER, "id", how="outer"), "'outer' is none of: inner, left, right, full, semi, anti"),
    (lambda: FLIGHTS.join(WEATHER), "for every pair of rows there is cross_join"),
    (lambda: FLIGHTS.join(WEATHER, "id", left_on="id"), "give either on, or left_on and right_on"),
    (lambda: FLIGHTS.join(WEATHER, left_on=["a", "b"], right_on="c"), "left_on has 2 columns and right_on 1"),
    (lambda: FLIGHTS.join("weather", "id"), "join takes a relation"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.as_of_join(WEATHER, time=""), "time is ''"),
    (lambda: FLIGHTS.as_of_join(WEATHER, time="t", tolerance=-1), "tolerance is -1"),
    (lambda: FLIGHTS.as_of_join(WEATHER, time="t", tolerance=float("nan")), "tolerance is nan"),
    (lambda: FLIGHTS.as_of_join(WEATHER, time="t", how="full"), "an as-of join is left or inner"),
    (FLIGHTS.aggregate, "aggregate needs by, or aggregations"),
    (lambda: FLIGHTS.window(order_by="a"), "window needs columns"),
    (lambda: FLIGHTS.deduplicate([]), "deduplicate needs columns"),
    (lambda: FLIGHTS.top(-1), "limit is -1"),
    (lambda: FLIGHTS.top(2.5), "limit is 2.5"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.sort(5), "a column of an order is 5"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.sample(0), "it has to be above 0 and at most 1"),
    (lambda: FLIGHTS.sample(0.5, seed=2**63), "a whole number of 64 bits"),
    (lambda: FLIGHTS.split({"train": 0.8, "test": 0.1}), "have to add up to 1; these are 0.9"),
    (lambda: FLIGHTS.split({}), "have to add up to 1; these are 0"),
    (lambda: FLIGHTS.impute("delay", strategy="mode"), "'mode' is none of: mean, median, most_frequent, constant"),
    (lambda: FLIGHTS.impute("delay", strategy="constant"), "takes a constant with strategy='constant'"),
    (lambda: FLIGHTS.impute("delay", strategy="mean", constant="0"), "takes a constant with strategy='constant'"),
    (lambda: FLIGHTS.impute([], strategy="mean"), "impute needs columns"),
    (lambda: FLIGHTS.scale(5), "columns is 5"),  # type: ignore[arg-type]
    (lambda: FLIGHTS.encode("carrier", kind="one_hot"), "one_hot needs the categories of 'carrier'"),
    (lambda: FLIGHTS.map_batches(doubled, schema={}), "map_batches needs the schema"),
]


@pytest.mark.parametrize(("build", "problem"), REFUSED, ids=[problem for _, problem in REFUSED])
def test_what_is_wrong_whatever_the_columns_is_refused_at_once(build: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        build()
    assert problem in str(raised.value)


def test_shares_that_add_up_only_to_what_a_float_can_hold_are_taken() -> None:
    assert len(only("split", FLIGHTS.split(dict.fromkeys("abcdefghij", 0.1)))["parts"]) == 10
