"""Training sets beside a search by hand: late, out of order, twice, at the same moment, too old, with nulls, in all kinds of times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.features.offline.retrieval import retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.errors import TypeMismatch
from servers.processing.stages.cutting import cut
from tests.integration.features.offline.by_hand import training_set_by_hand
from tests.integration.features.offline.running import bound, counted, local, partitioned, results, rows_of

START = datetime(2026, 3, 29, tzinfo=UTC)
SPINE = Spine("labels", "label_time", ("customer", "label_time", "label"))
BY_CUSTOMER = FeatureView("spending", "history", (ViewKey("customer", "id"),), "event", (Feature("amount"), Feature("word")))
BITEMPORAL = replace(BY_CUSTOMER, write_time="written")
KINDS: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "moments": (pa.timestamp("us", "UTC"), lambda hours: START + timedelta(hours=hours)),
    "wall times": (pa.timestamp("us"), lambda hours: START.replace(tzinfo=None) + timedelta(hours=hours)),
    "days": (pa.date32(), lambda hours: date(2026, 3, 29) + timedelta(days=hours)),
}
BY_BOTH = (ViewKey("shop", "shop"), ViewKey("customer", "id"))
ALL_COLUMNS = (
    Feature("word", "first word"),
    Feature("amount", 'the "amount"'),
    Feature("numbers", "Numbers"),
    Feature("word", "select"),
)


@dataclass(frozen=True)
class Case:
    training_set: TrainingSet
    label_kind: str = "moments"
    view_kinds: tuple[str, str] = ("moments", "moments")
    schemas: dict[str, pa.Schema] = field(init=False, hash=False, compare=False)

    def __post_init__(self) -> None:
        label, (event, written) = KINDS[self.label_kind][0], (KINDS[each][0] for each in self.view_kinds)
        spine = {"customer": pa.int64(), "shop": pa.string(), "label_time": label, "label": pa.int8()}
        view = {"id": pa.int32(), "shop": pa.string(), "event": event, "written": written}
        view |= {"amount": pa.decimal128(10, 2), "word": pa.string(), "numbers": pa.list_(pa.int64()), "unused": pa.int64()}
        schemas = {SPINE.input: pa.schema(spine.items())}
        schemas |= {each.input: pa.schema(view.items()) for each in self.training_set.views}
        object.__setattr__(self, "schemas", schemas)


def one(view: FeatureView, label_kind: str = "moments", view_kinds: tuple[str, str] = ("moments", "moments")) -> Case:
    return Case(TrainingSet(SPINE, (view,), has_event_times=True, has_statuses=True), label_kind, view_kinds)


AGE = timedelta(hours=3)
CASES = {
    "without write times": one(BY_CUSTOMER),
    "strict": one(replace(BY_CUSTOMER, is_strict=True, max_age=AGE), "wall times", ("wall times", "wall times")),
    "bitemporal": one(BITEMPORAL),
    "bitemporal, strict, with an age": one(replace(BITEMPORAL, is_strict=True, max_age=AGE), "wall times", ("wall times", "wall times")),
    "bitemporal, at once": one(replace(BITEMPORAL, max_age=timedelta())),
    "write times that break ties only": one(replace(BITEMPORAL, counts_writes=False, max_age=AGE)),
    "days": one(replace(BITEMPORAL, is_strict=True, max_age=timedelta(days=2)), "days", ("days", "days")),
    "days of events, moments of labels and writes": one(BITEMPORAL, "moments", ("days", "moments")),
    "several": Case(
        TrainingSet(
            replace(SPINE, columns=("label", "shop")),
            (
                replace(BITEMPORAL, prefix="c_"),
                replace(BY_CUSTOMER, name="of both", input="both", keys=BY_BOTH, features=ALL_COLUMNS),
                replace(BITEMPORAL, name="of all", input="all", keys=(), prefix="all_", max_age=AGE),
                replace(BY_CUSTOMER, name="again", prefix="again_", is_strict=True),
            ),
            has_statuses=True,
        )
    ),
}


@cache
def plan_of(name: str) -> BoundPlan:
    case = CASES[name]
    return bound(retrieval(case.training_set).plan, case.schemas)


keys = st.none() | st.integers(0, 2)
shops = st.sampled_from([None, "a", "b"])
hours = st.none() | st.integers(0, 7)
words = st.sampled_from([None, "x", "y", ""])
spines = st.lists(st.tuples(keys, shops, hours, st.none() | st.integers(0, 1)), max_size=10)
histories = st.lists(
    st.tuples(keys, shops, hours, hours, st.none() | st.integers(0, 2), words, st.none() | st.lists(st.integers(0, 2), max_size=2)),
    max_size=14,
)


def rows_in(case: Case, labels: list[Any], histories: list[list[Any]]) -> dict[str, list[dict[str, Any]]]:
    def time(kind: str, given_hours: int | None) -> Any:
        return None if given_hours is None else KINDS[kind][1](given_hours)

    tables = {
        SPINE.input: [
            {"customer": key, "shop": shop, "label_time": time(case.label_kind, at), "label": label} for key, shop, at, label in labels
        ]
    }
    for view, history in zip(case.training_set.views, histories, strict=False):
        tables.setdefault(
            view.input,
            [
                {
                    "id": key,
                    "shop": shop,
                    "event": time(case.view_kinds[0], event),
                    "written": time(case.view_kinds[1], written),
                    "amount": None if amount is None else Decimal(amount).scaleb(-1).quantize(Decimal("0.01")),
                    "word": word,
                    "numbers": numbers,
                    "unused": number,
                }
                for number, (key, shop, event, written, amount, word, numbers) in enumerate(history)
            ],
        )
    return tables


def arrow(case: Case, rows: dict[str, list[dict[str, Any]]]) -> dict[str, pa.Table]:
    return {name: pa.Table.from_pylist(rows[name], schema) for name, schema in case.schemas.items()}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(labels=spines, views=st.lists(histories, min_size=4, max_size=4))
def test_each_row_has_what_a_search_by_hand_finds(name: str, labels: Any, views: Any) -> None:
    case = CASES[name]
    rows = rows_in(case, labels, views)

    found = results(local(), plan_of(name), arrow(case, rows))["training_set"]

    assert rows_of(found) == counted(training_set_by_hand(case.training_set, rows))
    assert found.schema.names == [column.name for column in retrieval(case.training_set).columns]


@pytest.mark.parametrize("name", ["bitemporal, strict, with an age", "several"])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(labels=spines, views=st.lists(histories, min_size=4, max_size=4), count=st.integers(1, 5))
def test_partitions_make_no_difference(name: str, labels: Any, views: Any, count: int) -> None:
    case = CASES[name]
    rows = rows_in(case, labels, views)

    found = results(partitioned(count), plan_of(name), arrow(case, rows))["training_set"]

    assert rows_of(found) == counted(training_set_by_hand(case.training_set, rows))


def test_a_value_that_came_late_is_used_from_then_on_and_never_replaces_a_newer_one() -> None:
    case = CASES["bitemporal"]
    history = [(1, "a", 1, 1, 1, "first", None), (1, "a", 4, 4, 2, "newer", None), (1, "a", 3, 6, 3, "late", None)]
    history += [(1, "a", 5, 7, 4, "later", None)]
    rows = rows_in(case, [(1, "a", hour, hour % 2) for hour in (0, 3, 5, 6, 7)], [history])

    found = results(local(), plan_of("bitemporal"), arrow(case, rows))["training_set"].sort_by("label_time")

    assert found["word"].to_pylist() == [None, "first", "newer", "newer", "later"]


def test_times_near_the_end_of_what_a_timestamp_holds_do_not_fail() -> None:
    view = replace(BITEMPORAL, is_strict=True, max_age=timedelta(days=1))
    case = one(view, "wall times", ("wall times", "wall times"))
    last, first = 2**63 - 2, -(2**63) + 2
    times = pa.array([last, first, 0], pa.timestamp("us"))
    spine = pa.table([pa.array([1, 1, 1]), ["a"] * 3, times, pa.array([0, 0, 0], pa.int8())], schema=case.schemas["labels"])
    history = pa.table(
        [pa.array([1, 1, 1], pa.int32()), ["a"] * 3, times, times, pa.nulls(3, pa.decimal128(10, 2)), ["z", "b", "c"],
         pa.nulls(3, pa.list_(pa.int64())), pa.array([0, 0, 0])],
        schema=case.schemas["history"],
    )  # fmt: skip

    found = results(local(), bound(retrieval(case.training_set).plan, case.schemas), {"labels": spine, "history": history})["training_set"]

    assert sorted(found["spending__status"].to_pylist()) == ["NOT_FOUND", "OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE"]


@pytest.mark.parametrize(
    ("label", "event", "written"),
    [
        (pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us"), pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns"), pa.timestamp("ns"), pa.timestamp("ns")),
        (pa.int64(), pa.int64(), pa.int64()),
        (pa.string(), pa.timestamp("us"), pa.timestamp("us")),
    ],
)
def test_times_of_different_kinds_are_refused(label: pa.DataType, event: pa.DataType, written: pa.DataType) -> None:
    schemas = {
        "labels": pa.schema({"customer": pa.int64(), "label_time": label, "label": pa.int8()}.items()),
        "history": pa.schema({"id": pa.int64(), "event": event, "written": written, "amount": pa.int64(), "word": pa.string()}.items()),
    }

    with pytest.raises(TypeMismatch):
        bound(retrieval(TrainingSet(SPINE, (BITEMPORAL,))).plan, schemas)


def test_the_spine_is_moved_once_for_times_and_once_for_values_of_each_key() -> None:
    views = [replace(BITEMPORAL, name=name, prefix=name, keys=(ViewKey(key, "id"),)) for name, key in (("a", "x"), ("b", "y"), ("c", "x"))]
    training_set = TrainingSet(Spine("labels", "label_time", ("label",)), tuple(views))
    time = KINDS["moments"][0]
    schemas = {
        "labels": pa.schema({"x": pa.int64(), "y": pa.int64(), "label_time": time, "label": pa.int8()}.items()),
        "history": pa.schema({"id": pa.int64(), "event": time, "written": time, "amount": pa.int64(), "word": pa.string()}.items()),
    }

    staged = cut(bound(retrieval(training_set).plan, schemas))

    moved = [tuple(key.column for key in each.exchange.keys) for stage in staged.stages for each in stage.inputs]
    assert [keys for keys in moved if keys and keys[0].startswith("s")] == [("s2",), ("s3",), ("s2",), ("s3",)]
