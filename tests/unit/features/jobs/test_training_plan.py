"""The job that makes a training set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import KeyColumn, Selection, ViewVersion, Wanted
from servers.features.jobs.errors import InvalidSpine
from servers.features.jobs.spine_columns import checked_columns, kind_of
from servers.features.jobs.training_plan import planned
from servers.features.offline.errors import TrainingSetColumnTwice
from servers.features.online import JoinKey, JoinKeyType
from servers.features.peers.ingestion_peer import PinnedDataset

SPINE = PinnedDataset(
    "labels", 4, "file:///labels", (("account", "int32"), ("sender", "int64"), ("at", "timestamp[us, tz=UTC]"), ("price", "float"))
)
HISTORY = PinnedDataset("history", 7, "file:///history")
SPEC = pb.TrainingSetSpec(spine=pb.Spine(dataset="labels", label_time_column="at"), dataset="train")


def view(name: str = "spending") -> ViewVersion:
    spec = view_pb.FeatureViewSpec(
        event_time_column="event", features=[view_pb.Feature(name="amount", column="total", type="float32")], max_age={"seconds": 60}
    )
    keys = (KeyColumn(JoinKey("account", JoinKeyType.INT64), "id"),)
    return ViewVersion(f"{name}-1", name, "default", name, 1, spec, keys, "history", "", "me", datetime(2026, 1, 1, tzinfo=UTC))


def wanted(*selections: Selection, **more: object) -> Wanted:
    return Wanted(selections or (Selection(view(), ("amount",)),), **more)  # type: ignore[arg-type]


def test_a_view_may_come_twice_and_its_dataset_is_one_input() -> None:
    twice = wanted(Selection(view(), ("amount",)), Selection(view(), ("amount",), "sender_", {"account": "sender"}))

    made = planned(SPEC, twice, SPINE, ("account",), {"spending-1": HISTORY})

    assert [(each.name, each.dataset, each.version) for each in made.job.inputs] == [("spine", "labels", 4), ("view_0", "history", 7)]
    assert [(each.step, each.dataset) for each in made.job.outputs] == [("typed", "train"), ("leaks", "train-leaks")]
    assert [(each.view, each.features) for each in made.reading.reported] == [("spending", ("amount",)), ("spending", ("sender_amount",))]
    names = [step.name for step in made.job.plan.steps]
    assert len({name.lower() for name in names}) == len(names)
    assert max(map(len, names)) <= 63
    typed = next(step for step in made.job.plan.steps if step.name == "typed")
    assert [column.name for column in typed.project.columns] == ["account", "amount", "sender_amount"]
    assert 'CAST("amount" AS FLOAT)' in [column.expression for column in typed.project.columns]


def test_on_demand_features_come_last_over_what_the_online_store_would_have() -> None:
    more = {
        "request_inputs": (view_pb.RequestInput(name="Price", type="float64"),),
        "on_demand": (view_pb.OnDemandFeature(name="share", expression="amount / price", type="float64"),),
    }

    made = planned(SPEC, wanted(**more), SPINE, ("price",), {"spending-1": HISTORY})

    assert made.job.outputs[0].step == "on_demand_0"
    assert made.reading.replayed == (("amount", "float32"), ("price", "float64"))
    assert made.reading.request_inputs == ("price",)
    with pytest.raises(TrainingSetColumnTwice, match="'share'"):
        planned(SPEC, wanted(**more), SPINE, ("price", "Share"), {"spending-1": HISTORY})


def test_a_spine_has_the_keys_and_inputs_of_the_types_that_they_have_online() -> None:
    def refused(spine: pb.Spine, what: Wanted) -> str:
        with pytest.raises(InvalidSpine) as caught:
            checked_columns(spine, SPINE, what)
        return caught.value.message

    needs_price = wanted(request_inputs=(view_pb.RequestInput(name="price", type="float64"),))
    assert checked_columns(SPEC.spine, SPINE, needs_price) == ("account", "sender", "at", "price")
    assert "no column 'nothing'" in refused(
        pb.Spine(label_time_column="at"), wanted(Selection(view(), ("amount",), "", {"account": "nothing"}))
    )
    assert "is float64" in refused(pb.Spine(label_time_column="at"), wanted(Selection(view(), ("amount",), "", {"account": "price"})))
    assert "is int64" in refused(pb.Spine(label_time_column="sender"), wanted())
    assert "computed from 'price'" in refused(pb.Spine(label_time_column="at", columns=["sender"]), needs_price)
    assert [kind_of(each) for each in ("uint8", "date32[day]", "timestamp[us]", "large_string", "list<item: int64>")] == [
        "int64",
        "date",
        "timestamp",
        "string",
        "list<item: int64>",
    ]


def test_ages_and_write_times_are_those_of_the_view_and_the_request() -> None:
    spec = pb.TrainingSetSpec()
    spec.CopyFrom(SPEC)
    spec.skip_leak_report = True

    made = planned(spec, wanted(), SPINE, ("account",), {"spending-1": HISTORY})

    assert str(timedelta(seconds=60) // timedelta(microseconds=1)) in str(made.job.plan)
    assert (len(made.job.outputs), made.reading.leaks_dataset) == (1, "")
