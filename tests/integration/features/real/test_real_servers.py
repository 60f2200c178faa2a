"""What features promise holds on PostgreSQL, S3 and Redis, too."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import grpc
import pyarrow as pa
import pytest
from mlops.features.v1 import feature_job_service_pb2 as job_pb
from mlops.features.v1 import feature_serving_service_pb2 as serving_pb
from mlops.features.v1 import feature_store_service_pb2 as store_pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import pipeline_pb2

from servers.features.online import open_online_store
from tests.integration.features.real.running import PATIENCE_S, RealFeatures, features_beside
from tests.integration.processing.server.served import refusal_of
from tests.integration.runtime.waiting import eventually

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
FULL, INCREMENTAL = job_pb.MATERIALIZE_MODE_FULL, job_pb.MATERIALIZE_MODE_INCREMENTAL
AMOUNT = view_pb.Feature(name="amount", type="int64")


def at(*hours: float) -> pa.Array:
    return pa.array([START + timedelta(hours=hour) for hour in hours], TIME)


def rows(customers: list[int], hours: list[float], amounts: list[int]) -> pa.Table:
    return pa.table({"customer_id": pa.array(customers, pa.int64()), "event": at(*hours), "amount": pa.array(amounts, pa.int64())})


def counts(done: job_pb.Materialization) -> tuple[int, int, int]:
    return done.read_rows, done.written_rows, done.kept_newer_rows


def test_what_came_late_is_read_and_the_newest_stays(features: RealFeatures) -> None:
    dataset = features.dataset(rows([1, 2], [10, 10], [100, 200]))
    view = features.amounts(dataset)
    first = features.materialize(view)
    features.dataset(rows([1, 3, 2], [9, 1, 11], [99, 300, 201]), dataset)

    second, third = features.materialize(view), features.materialize(view)

    assert [(each.effective_mode, *counts(each)) for each in (first, second, third)] == [
        (FULL, 2, 2, 0),
        (INCREMENTAL, 3, 2, 1),
        (INCREMENTAL, 0, 0, 0),
    ]
    assert features.newest(view, [1, 2, 3, 4]) == [100, 201, 300, None]


def test_what_was_replaced_is_gone_and_so_is_after_a_full_one_what_was_pushed_online_alone(features: RealFeatures) -> None:
    dataset = features.dataset(rows([1, 2], [10, 10], [100, 200]))
    view = features.amounts(dataset)
    features.materialize(view)
    features.push(view, [{"customer_id": 3, "event": START.isoformat(), "amount": 3}], target=serving_pb.PUSH_TARGET_ONLINE)
    pushed = features.newest(view, [3])
    features.dataset(rows([2], [5], [222]), dataset, ingestion_pb2.WRITE_MODE_OVERWRITE)

    replaced = features.materialize(view)
    again = features.materialize(view, FULL)

    assert (pushed, replaced.effective_mode, counts(replaced), counts(again)) == ([3], FULL, (1, 1, 0), (1, 1, 0))
    assert features.newest(view, [1, 2, 3]) == [None, 222, None]


def test_a_push_is_served_at_once_and_once_in_the_dataset(features: RealFeatures) -> None:
    view = features.view(push=view_pb.PushSource(), features=[AMOUNT])
    dataset = features.store.GetFeatureView(store_pb.GetFeatureViewRequest(name=view)).dataset
    request_id, row = str(uuid.uuid4()), {"customer_id": 1, "event": START.isoformat(), "amount": 7}

    first = features.push(view, [row], request_id=request_id)
    served = features.newest(view, [1])
    second = features.push(view, [row], request_id=request_id)
    eventually(lambda: features.others.ingestion.exists(dataset), PATIENCE_S)
    late = features.push(view, [row | {"event": (START - timedelta(hours=1)).isoformat(), "amount": 6}])
    everything = features.materialize(view, FULL)

    assert (first, served) == (second, [7])
    assert (first.written_rows, late.written_rows, late.kept_newer_rows) == (1, 0, 1)
    # A full materialisation waits for pushes that were answered before.
    assert (everything.read_rows, features.newest(view, [1])) == (2, [7])
    assert sorted(each["amount"] for each in features.others.rows(dataset)) == [6, 7]


def test_a_service_is_served_and_its_training_set_knows_what_was_known(features: RealFeatures) -> None:
    history = rows([1, 1, 2], [1, 4, 5], [10, 20, 30]).append_column("written", at(1, 8, 5))
    view = features.amounts(features.dataset(history), write_time_column="written")
    features.materialize(view)
    service = features.service(view)
    spine = pa.table({"customer_id": [1, 1, 2, 3], "label_time": at(5, 9, 6, 6), "price": [4.0, 4.0, 4.0, 4.0]})
    request = serving_pb.ServeFeaturesRequest(feature_service=service, include_event_times=True)
    request.entities["customer_id"].int64_values.values.extend([2, 3])
    request.request_inputs["price"].double_values.values.extend([4.0, 4.0])

    served = {each.name: each for each in features.serving.ServeFeatures(request).features}
    made = features.training_set(
        spine=job_pb.Spine(dataset=features.dataset(spine), label_time_column="label_time"), feature_service=service
    )

    assert (served["amount"].values.int64_values.values[0], served["share"].values.double_values.values[0]) == (30, 7.5)
    assert served["amount"].event_times[0].ToDatetime(UTC) == START + timedelta(hours=5)
    assert list(served["share"].statuses) == [serving_pb.VALUE_STATUS_PRESENT, serving_pb.VALUE_STATUS_NULL]
    found = {(each["customer_id"], each["label_time"]): (each["amount"], each["share"]) for each in features.others.rows(made.spec.dataset)}
    five, six, nine = (START + timedelta(hours=hour) for hour in (5, 6, 9))
    assert found == {(1, five): (10, 2.5), (1, nine): (20, 5.0), (2, six): (30, 7.5), (3, six): (None, None)}
    (leaks,), (replay,) = made.leak_report, made.on_demand_replay
    assert (leaks.changed_rows, leaks.not_found_rows, replay.rows, replay.different_rows) == (1, 1, 4, 0)


def test_what_a_view_computes_is_computed_before(features: RealFeatures) -> None:
    orders = features.dataset(rows([1, 1, 2], [1, 2, 3], [10, 20, 30]))
    view = features.view(
        computed=view_pb.ComputedSource(
            inputs=[pipeline_pb2.PipelineInput(name="orders", dataset=orders)],
            sql="SELECT customer_id, max(event) AS event, sum(amount)::BIGINT AS amount FROM orders GROUP BY customer_id",
        ),
        features=[AMOUNT],
    )

    features.materialize(view)
    features.dataset(rows([2], [4], [3]), orders)
    features.materialize(view)

    assert features.newest(view, [1, 2]) == [30, 33]


def test_a_view_that_is_deleted_leaves_nothing_online(features: RealFeatures) -> None:
    view = features.amounts(features.dataset(rows([1, 2], [10, 10], [100, 200])))
    features.materialize(view)
    features.materialize(view, FULL)
    store = open_online_store(features.online_url, timeout_s=PATIENCE_S)
    names = features.online_names(view, generations=2)
    before = [store.count(name) for name in names]

    features.store.DeleteFeatureView(store_pb.DeleteFeatureViewRequest(name=view))

    after = [store.count(name) for name in names]
    store.close()
    assert (before, after) == ([2, 2], [0, 0])
    with pytest.raises(grpc.RpcError) as refused:
        features.newest(view, [1])
    assert refusal_of(refused.value).reason == "FEATURE_VIEW_NOT_FOUND"


def test_another_server_serves_what_this_one_defines_and_writes(features: RealFeatures) -> None:
    dataset = features.dataset(rows([1, 2], [10, 10], [100, 200]))
    with features_beside(features.others, features.database_url, features.online_url) as other:
        view = features.amounts(dataset)
        other.materialize(view)
        served = features.newest(view, [1, 2])
        features.dataset(rows([2], [5], [222]), dataset, ingestion_pb2.WRITE_MODE_OVERWRITE)
        features.materialize(view)

        eventually(lambda: other.newest(view, [1, 2]) == [None, 222], PATIENCE_S)
        features.push(view, [{"customer_id": 4, "event": START.isoformat(), "amount": 4}], target=serving_pb.PUSH_TARGET_ONLINE)
        assert (served, other.newest(view, [4])) == ([100, 200], [4])
