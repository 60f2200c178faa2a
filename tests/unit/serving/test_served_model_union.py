from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlops.serving.v1 import served_model_pb2 as pb

from servers.serving.served_model_union import union

START = datetime(2026, 1, 1, tzinfo=UTC)
READY = pb.SERVED_MODEL_STATE_READY
FAILED = pb.SERVED_MODEL_STATE_FAILED
LOADING = pb.SERVED_MODEL_STATE_LOADING
UNLOADING = pb.SERVED_MODEL_STATE_UNLOADING


def model(name: str = "m", version: int = 1, state: pb.ServedModelState.ValueType = READY, **fields: Any) -> pb.ServedModel:
    return pb.ServedModel(name=name, version=version, project="default", state=state, **fields)


def test_a_version_that_several_workers_have_is_one_entry():
    joined = union({1: [model("a", 1), model("a", 2)], 2: [model("a", 2), model("b", 1)]})

    assert sorted((entry.name, entry.version) for entry in joined) == [("a", 1), ("a", 2), ("b", 1)]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([READY, FAILED, LOADING], FAILED),
        ([READY, LOADING], LOADING),
        ([UNLOADING, READY], READY),
        ([UNLOADING, UNLOADING], UNLOADING),
    ],
)
def test_the_state_that_needs_attention_most_is_told(states, expected):
    (joined,) = union({number: [model(state=state)] for number, state in enumerate(states, 1)})

    assert joined.state == expected


def test_the_reason_of_one_worker_names_it():
    (joined,) = union({1: [model(digest="sha256:1")], 2: [model(state=FAILED, error="too large")]})

    assert (joined.error, joined.digest) == ("worker 2: too large", "sha256:1")


def test_a_reason_that_all_workers_have_is_told_once():
    (joined,) = union({number: [model(state=FAILED, error="no ONNX model")] for number in (1, 2, 3)})

    assert joined.error == "no ONNX model"


def test_it_is_ready_since_the_last_worker_has_it():
    entries = {}
    for number in (1, 2):
        entries[number] = [model(load_duration_ms=number * 10.0, size_bytes=7)]
        entries[number][0].load_time.FromDatetime(START + timedelta(minutes=number))

    (joined,) = union(entries)

    assert joined.load_time.ToDatetime(UTC) == START + timedelta(minutes=2)
    assert (joined.load_duration_ms, joined.size_bytes) == (20.0, 7)


def test_what_was_never_loaded_or_predicted_has_no_time():
    (joined,) = union({1: [model(state=LOADING)], 2: [model(state=LOADING)]})

    assert not joined.HasField("load_time")
    assert not joined.statistics.HasField("last_predict_time")


def histogram(bounds: list[float], counts: list[int], total: float) -> pb.DurationHistogram:
    return pb.DurationHistogram(bounds_ms=bounds, counts=counts, total_ms=total)


def test_histograms_sizes_and_reasons_are_added_up():
    first = pb.ServingStatistics(
        queue_duration=histogram([1, 5], [1, 2, 3], 9),
        batch_sizes=[pb.BatchSizeStatistics(rows=1, run_count=2, compute_ms=1), pb.BatchSizeStatistics(rows=8, run_count=1, compute_ms=2)],
        batch_closes=[pb.BatchCloseStatistics(reason=pb.BATCH_CLOSE_REASON_TURN_ENDED, run_count=3)],
    )
    second = pb.ServingStatistics(
        queue_duration=histogram([1, 5], [10, 20, 30], 90),
        batch_sizes=[pb.BatchSizeStatistics(rows=4, run_count=5, compute_ms=5), pb.BatchSizeStatistics(rows=8, run_count=1, compute_ms=3)],
        batch_closes=[
            pb.BatchCloseStatistics(reason=pb.BATCH_CLOSE_REASON_ROW_CAP, run_count=5),
            pb.BatchCloseStatistics(reason=pb.BATCH_CLOSE_REASON_TURN_ENDED, run_count=1),
        ],
    )

    (joined,) = union({1: [model(statistics=first)], 2: [model(statistics=second)]})

    assert joined.statistics.queue_duration == histogram([1, 5], [11, 22, 33], 99)
    assert not joined.statistics.HasField("run_duration")
    sizes = [(size.rows, size.run_count, size.compute_ms) for size in joined.statistics.batch_sizes]
    assert sizes == [(1, 2, 1), (4, 5, 5), (8, 2, 5)]
    closes = [(close.reason, close.run_count) for close in joined.statistics.batch_closes]
    assert closes == [(pb.BATCH_CLOSE_REASON_ROW_CAP, 5), (pb.BATCH_CLOSE_REASON_TURN_ENDED, 4)]


COUNTS = [
    field.name
    for field in pb.ServingStatistics.DESCRIPTOR.fields
    if not field.is_repeated and field.type in (field.TYPE_INT64, field.TYPE_DOUBLE)
]


@given(st.lists(st.fixed_dictionaries({name: st.integers(0, 2**40) for name in COUNTS}), min_size=1, max_size=4))
def test_every_count_of_the_contract_is_added_up(parts):
    (joined,) = union({number: [model(statistics=pb.ServingStatistics(**part))] for number, part in enumerate(parts, 1)})

    for name in COUNTS:
        assert getattr(joined.statistics, name) == sum(part[name] for part in parts)


def test_no_field_of_the_contract_is_forgotten():
    whole = model(digest="d", error="e", size_bytes=1, load_duration_ms=1.0)
    whole.load_time.FromDatetime(START)
    whole.signature.inputs.add(name="x", shape=[-1])
    statistics = whole.statistics
    for name in COUNTS:
        setattr(statistics, name, 1)
    statistics.no_sharing_reason = "no batch"
    statistics.last_predict_time.FromDatetime(START)
    statistics.queue_duration.CopyFrom(histogram([1], [1, 1], 2))
    statistics.run_duration.CopyFrom(histogram([1], [1, 1], 2))
    statistics.batch_sizes.add(rows=1, run_count=1, compute_ms=1)
    statistics.batch_closes.add(reason=pb.BATCH_CLOSE_REASON_TURN_ENDED, run_count=1)
    assert len(whole.ListFields()) == len(pb.ServedModel.DESCRIPTOR.fields), "the contract has a new field: set it here"
    assert len(statistics.ListFields()) == len(pb.ServingStatistics.DESCRIPTOR.fields), "the contract has a new field: set it here"

    assert union({1: [whole]}) == [whole]
