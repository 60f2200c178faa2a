"""Training sets of real servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import ViewVersion
from servers.features.errors import NotAllowed
from servers.features.insight.statistics import Statistics
from servers.features.offline.retrieval import retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from servers.runtime.auth import Principal
from tests.integration.features.jobs.fed import CANCELLED, PATIENCE_S, START, SUCCEEDED, TIME, Fed, at, keep_processing_busy
from tests.integration.features.offline.running import bound, local, results, rows_of
from tests.integration.processing.server.served import refusal_of
from tests.integration.runtime.waiting import eventually

SPINE = pa.table(
    {
        "customer_id": pa.array([1, 1, 2, 3, None], pa.int64()),
        "other": pa.array([2, 2, 1, 1, 1], pa.int64()),
        "label_time": at(5, 6, 6, 6, 6),
        "price": pa.array([2.0, 0.0, 4.0, float("nan"), None], pa.float64()),
        "label": [True, False, True, False, True],
    }
)
HISTORY = pa.table(
    {
        "id": pa.array([1, 1, 2], pa.int64()),
        "event": at(1, 4, 5),
        "written": at(1, 8, 5),
        "amount": pa.array([0.1, 0.2, 0.3], pa.float64()),
    }
)


@pytest.fixture(scope="module")
def spine(features: Fed) -> str:
    return features.served.dataset(SPINE)


@pytest.fixture(scope="module")
def view(features: Fed) -> ViewVersion:
    return features.view(
        view_pb.FeatureViewSpec(
            dataset=view_pb.DatasetSource(dataset=features.served.dataset(HISTORY)),
            event_time_column="event",
            write_time_column="written",
            features=[view_pb.Feature(name="amount", type="float32")],
            key_columns={"customer_id": "id"},
        )
    )


def spec_of(features: Fed, spine: str, view: ViewVersion | None = None, **more: Any) -> pb.TrainingSetSpec:
    spec = pb.TrainingSetSpec(
        spine=pb.Spine(dataset=spine, label_time_column="label_time"), dataset=features.served.ingestion.new_dataset(), **more
    )
    if view is not None:
        spec.selections.add(view=view.view)
    return spec


def test_it_is_what_the_offline_library_gives_and_says_what_would_have_leaked(features: Fed, spine: str, view: ViewVersion) -> None:
    spec = spec_of(features, spine, include_event_times=True, include_statuses=True)
    spec.spine.columns.extend(["customer_id", "label"])
    spec.selections.add(view=view.view)
    spec.selections.add(view=view.view, prefix="other_", join_key_names={"customer_id": "other"})

    made = features.trained(spec)

    assert made.state == SUCCEEDED, made
    own = FeatureView(view.view, "h", (ViewKey("customer_id", "id"),), "event", (Feature("amount"),), write_time="written")
    other = replace(own, name=f"other_{view.view}", keys=(ViewKey("other", "id"),), prefix="other_")
    offline = TrainingSet(Spine("s", "label_time", ("customer_id", "label")), (own, other), has_event_times=True, has_statuses=True)
    plan, tables = retrieval(offline), {"s": SPINE, "h": HISTORY}
    expected = results(local(), bound(plan.plan, {name: table.schema for name, table in tables.items()}), tables)[plan.output]
    rounded = expected.cast(
        pa.schema([field.with_type(pa.float32()) if field.type == pa.float64() else field for field in expected.schema])
    )
    written = pa.Table.from_pylist(features.served.rows(spec.dataset), rounded.schema)
    assert rows_of(written) == rows_of(rounded)
    assert features.served.rows(spec.dataset)[0].keys() == set(rounded.column_names)
    assert (made.row_count, made.dataset_version) == (5, features.served.versions(spec.dataset))
    assert [(each.view, each.dataset, each.dataset_version) for each in made.inputs] == [(view.view, view.dataset, 1)]
    mine, others = made.leak_report
    assert (mine.view, mine.rows, mine.not_found_rows, mine.changed_rows, mine.view_rows, mine.late_view_rows) == (view.view, 5, 2, 2, 3, 1)
    assert [(each.share, each.seconds) for each in mine.write_delays] == [(0.5, 0.0), (0.9, 14400.0), (0.99, 14400.0), (1.0, 14400.0)]
    assert [(each.feature, each.changed_rows, each.null_rows) for each in mine.features] == [("amount", 2, 2)]
    assert [each.feature for each in others.features] == ["other_amount"]
    listed = features.stub.ListTrainingSets(pb.ListTrainingSetsRequest(filter=f'dataset = "{spec.dataset}"')).training_sets
    assert [(each.id, list(each.leak_report)) for each in listed] == [(made.id, [])]


def test_on_demand_features_are_the_same_as_online_and_without_write_times_it_knows_more(
    features: Fed, spine: str, view: ViewVersion
) -> None:
    service = features.service(
        view_pb.FeatureServiceSpec(
            selections=[view_pb.FeatureSelection(view=view.view)],
            request_inputs=[view_pb.RequestInput(name="price", type="float64")],
            on_demand_features=[
                view_pb.OnDemandFeature(name="share", expression="amount / nullif(price, 0)", type="float32"),
                view_pb.OnDemandFeature(name="words", expression="'x' || (share > 0.05)::VARCHAR", type="string"),
            ],
        )
    )
    spec = spec_of(features, spine, feature_service=service, ignore_write_times=True, skip_leak_report=True)

    made = features.trained(spec)

    assert made.state == SUCCEEDED, made
    assert made.spec.feature_service_version == 1
    assert [(each.feature, each.rows, each.different_rows) for each in made.on_demand_replay] == [("share", 5, 0), ("words", 5, 0)]
    assert not made.leak_report
    found = {(row["customer_id"], row["label_time"]): row for row in features.served.rows(spec.dataset)}
    assert found[1, START + (at(6)[0].as_py() - START)]["amount"] == pytest.approx(0.2)
    assert found[2, at(6)[0].as_py()]["words"] == "xtrue"
    assert features.lineage("default", view.view).services[0].service == service


def test_mistakes_are_told_at_the_call_and_nothing_is_kept(features: Fed, spine: str, view: ViewVersion) -> None:
    def refused(spec: pb.TrainingSetSpec, stub: Any = features.stub) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateTrainingSet(pb.CreateTrainingSetRequest(spec=spec, validate_only=True))
        refusal = refusal_of(caught.value)
        return refusal.reason, refusal.message

    without_key = features.served.dataset(SPINE.drop_columns(["customer_id"]))
    wrong_key = features.served.dataset(SPINE.set_column(0, "customer_id", pa.array(["a"] * 5)))
    over_itself, over_source = spec_of(features, spine, view), spec_of(features, spine, view)
    over_itself.dataset, over_source.dataset = spine, view.dataset
    twice = spec_of(features, features.served.dataset(SPINE.append_column("amount", SPINE["price"])), view)

    assert refused(spec_of(features, without_key, view))[0] == "INVALID_SPINE"
    assert "is string; the join key 'customer_id'" in refused(spec_of(features, wrong_key, view))[1]
    assert refused(over_itself)[0] == refused(over_source)[0] == "INVALID_TRAINING_SET"
    assert refused(twice)[0] == "TRAINING_SET_COLUMN_TWICE"
    assert refused(spec_of(features, "nowhere", view))[0] == "DATASET_NOT_FOUND"
    reader = features.stub_of({"default": ["features.*", "ingestion.data.read"]})
    assert refused(spec_of(features, spine, view), reader)[0] == "PERMISSION_DENIED"
    good = spec_of(features, spine, view)
    foreseen = features.create(good, validate_only=True)
    assert (foreseen.id, list(foreseen.spec.spine.columns)) == ("", SPINE.column_names)
    assert not features.served.ingestion.exists(good.dataset)


def test_columns_of_the_dataset_that_it_would_not_write_are_refused(features: Fed, spine: str, view: ViewVersion) -> None:
    spec = spec_of(features, spine, view, skip_leak_report=True)
    assert features.trained(spec).state == SUCCEEDED
    spec.spine.columns.extend(["customer_id", "label"])

    with pytest.raises(grpc.RpcError) as caught:
        features.create(spec)

    refusal = refusal_of(caught.value)
    assert refusal.reason == "INVALID_TRAINING_SET"
    assert "has the columns other, label_time, price from before" in refusal.message


def test_one_that_is_cancelled_has_its_job_cancelled(features: Fed, spine: str, view: ViewVersion, tmp_path: Path) -> None:
    served, sign = features.served, tmp_path / "go"
    keep_processing_busy(features, sign)
    made = features.create(spec_of(features, spine, view))
    eventually(lambda: features.training_set(made.id).processing_job_id, PATIENCE_S)

    features.stub.CancelTrainingSet(pb.CancelTrainingSetRequest(id=made.id))

    eventually(lambda: features.training_set(made.id).state == CANCELLED, PATIENCE_S)
    cancelled = served.ended(features.training_set(made.id).processing_job_id)
    sign.touch()
    assert cancelled.state == CANCELLED
    assert not served.ingestion.exists(made.spec.dataset)


def test_lineage_names_the_datasets_and_the_training_sets_of_a_view(features: Fed, spine: str) -> None:
    view = features.spending(features.served.dataset(HISTORY))
    made = features.trained(spec_of(features, spine, view, skip_leak_report=True))

    lineage = features.lineage("default", view.view)

    assert [(each.dataset, each.version, each.pipeline) for each in lineage.datasets] == [(view.dataset, 1, "")]
    assert [(each.id, each.dataset_version, each.view_version) for each in lineage.training_sets] == [(made.id, made.dataset_version, 1)]
    assert not lineage.models


def test_statistics_tell_how_fresh_a_view_is_and_how_it_has_drifted(features: Fed) -> None:
    def rows(amounts: range, hour: float) -> pa.Table:
        return pa.table(
            {"id": pa.array(amounts, pa.int64()), "event": pa.array([at(hour)[0].as_py()] * len(amounts), TIME), "amount": list(amounts)}
        )

    dataset = features.served.dataset(rows(range(1000), 1))
    view = features.spending(dataset)
    features.materialize(view)
    features.write(dataset, rows(range(1000, 3000), 3))

    found = features.statistics("default", view.view)
    same = features.statistics("default", view.view, 1, found.dataset_version)

    [amount] = found.features
    assert (found.baseline_version, found.dataset_version, found.row_count) == (1, 2, 3000)
    assert (found.newest_event_time.ToDatetime(), found.online_lag.seconds) == (at(3)[0].as_py().replace(tzinfo=None), 7200)
    assert amount.population_stability_index > 1
    assert amount.mean_shift > 3
    assert same.features[0].population_stability_index == 0


def test_statistics_are_for_those_who_may_read_data(features: Fed, view: ViewVersion) -> None:
    around = features.around
    curious = Principal("eve", "eve", "user", {"default": frozenset({"features.*"})})
    statistics = Statistics(around.definitions, around.online_states, around.ingestion, lambda: START, lambda: curious)

    with pytest.raises(NotAllowed, match="lacks the permission"):
        statistics("default", view.view)
