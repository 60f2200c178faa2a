"""Values and specifications of features have all that the contract has."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from mlmesh import features, plan
from mlmesh.errors import FeatureJobFailed, FeatureJobUnfinished, InvalidArgument
from mlmesh.feature_jobs import (
    FeatureLeaks,
    Materialization,
    OnDemandReplay,
    TrainingSet,
    TrainingSetInput,
    ViewLeaks,
    WriteDelay,
    materialization_value,
    training_set_value,
)
from mlmesh.feature_specs import change_service_spec, change_view_spec, spec_of, training_set_spec
from mlmesh.feature_views import (
    DatasetLineage,
    Entity,
    FeatureService,
    FeatureServiceVersion,
    FeatureStatistics,
    FeatureView,
    FeatureViewLineage,
    FeatureViewStatistics,
    FeatureViewVersion,
    ModelLineage,
    OnlineState,
    ServiceLineage,
    TrainingSetLineage,
    statistics_value,
    view_value,
)
from mlmesh.features import OnDemand, select
from mlmesh.job_specs import JobResources
from mlmesh.pushed_rows import PushResult, push_data, push_target
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2, feature_serving_service_pb2, feature_store_service_pb2, feature_view_pb2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *((kind, getattr(feature_view_pb2, kind.__name__)) for kind in (Entity, OnlineState, FeatureView, FeatureViewVersion)),
        *((kind, getattr(feature_view_pb2, kind.__name__)) for kind in (FeatureService, FeatureServiceVersion)),
        *((kind, getattr(feature_store_service_pb2, kind.__name__)) for kind in (DatasetLineage, ServiceLineage, TrainingSetLineage)),
        *((kind, getattr(feature_store_service_pb2, kind.__name__)) for kind in (ModelLineage, FeatureViewLineage)),
        *((kind, getattr(feature_store_service_pb2, kind.__name__)) for kind in (FeatureStatistics, FeatureViewStatistics)),
        *((kind, getattr(feature_job_service_pb2, kind.__name__)) for kind in (TrainingSetInput, FeatureLeaks, WriteDelay, ViewLeaks)),
        *((kind, getattr(feature_job_service_pb2, kind.__name__)) for kind in (OnDemandReplay, TrainingSet, Materialization)),
        (PushResult, feature_serving_service_pb2.PushFeaturesResponse),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_value_has_every_field_of_the_contract(value: type[Any], message: type[Message]) -> None:
    assert {field.name for field in fields(value)} == set(message.DESCRIPTOR.fields_by_name)


def view_spec(**given: Any) -> feature_view_pb2.FeatureViewSpec:
    spec = feature_view_pb2.FeatureViewSpec()
    change_view_spec(spec, **given)
    return spec


def as_json(message: Message) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))


class TestViews:
    def test_everything_of_the_contract_can_be_said(self) -> None:
        spec = view_spec(
            entities=["user", "shop"],
            dataset="activity",
            event_time="time",
            write_time="written",
            key_columns={"user_id": "sender"},
            features={"clicks": "int64", "spend": features.Feature("float64", "sum", "In euros.")},
            max_age=timedelta(days=7),
            offline_only=True,
            materialize_every=timedelta(minutes=5),
        )
        assert as_json(spec) == {
            "entities": ["user", "shop"],
            "dataset": {"dataset": "activity"},
            "event_time_column": "time",
            "write_time_column": "written",
            "key_columns": {"user_id": "sender"},
            "features": [
                {"name": "clicks", "type": "int64"},
                {"name": "spend", "type": "float64", "column": "sum", "description": "In euros."},
            ],
            "max_age": "604800s",
            "offline_only": True,
            "materialize_interval": "300s",
        }
        assert set(as_json(spec)) | {"computed", "push"} == set(feature_view_pb2.FeatureViewSpec.DESCRIPTOR.fields_by_name)

    def test_a_select_or_a_relation_is_computed(self) -> None:
        common = {"entities": "user", "event_time": "day", "features": ["clicks"], "inputs": {"a": "activity"}}
        select_ = view_spec(**common, sql="SELECT 1", keys=["user_id"], engine="dask", resources=JobResources(memory_mib=512))
        assert as_json(select_.computed) == {
            "inputs": [{"name": "a", "dataset": "activity"}],
            "sql": "SELECT 1",
            "keys": ["user_id"],
            "engine": "ENGINE_DASK",
            "resources": {"memory_mib": 512},
        }
        relation = view_spec(**common, plan=plan.scan("a").filter("clicks > 0"))
        assert as_json(relation.computed.plan)["outputs"] == ["filter"]
        assert set(as_json(select_.computed)) | {"plan"} == set(feature_view_pb2.ComputedSource.DESCRIPTOR.fields_by_name)

    def test_what_is_pushed_has_no_other_source(self) -> None:
        assert view_spec(entities="user", push=True, event_time="time", features={"clicks": "int64"}).WhichOneof("source") == "push"

    def test_what_is_not_given_stays_and_nought_is_none(self) -> None:
        spec = view_spec(
            **{"entities": "user", "dataset": "activity", "event_time": "time", "features": ["clicks"]},
            **{"max_age": timedelta(days=7), "materialize_every": timedelta(minutes=5)},
        )
        change_view_spec(spec, features=["clicks", "spend"], max_age=timedelta(0))
        assert as_json(spec) == {
            **{"entities": ["user"], "dataset": {"dataset": "activity"}, "event_time_column": "time"},
            **{"features": [{"name": "clicks"}, {"name": "spend"}], "materialize_interval": "300s"},
        }
        change_view_spec(spec, push=True)
        assert spec.WhichOneof("source") == "push"

    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"dataset": "a", "push": True}, "a view has one source"),
            ({"dataset": "a", "sql": "SELECT 1", "inputs": {"a": "a"}}, "a view has one source"),
            ({"dataset": "a", "keys": ["user_id"]}, "give sql or plan with them"),
            ({"plan": plan.scan("b"), "inputs": {"a": "a"}}, "scans 'b', which is no input"),
            ({"features": "clicks"}, "a list of names, or types by name"),
        ],
    )
    def test_what_is_wrong_whatever_the_mesh_has_is_refused_at_once(self, given: dict[str, Any], problem: str) -> None:
        with pytest.raises(InvalidArgument, match=problem):
            view_spec(**given)

    def test_one_as_json_is_taken_as_it_is_kept(self) -> None:
        spec = view_spec(entities="user", dataset="activity", event_time="time", features=["clicks"], max_age=timedelta(days=7))
        kept = view_value(feature_view_pb2.FeatureView(spec=spec))
        assert spec_of(feature_view_pb2.FeatureViewSpec, kept.spec) == spec
        assert (kept.features, kept.online) == ({"clicks": ""}, None)

    @pytest.mark.parametrize("spec", [{"entity": ["user"]}, "view.json"])
    def test_what_is_no_spec_is_refused(self, spec: Any) -> None:
        with pytest.raises(InvalidArgument):
            spec_of(feature_view_pb2.FeatureViewSpec, spec)


class TestServices:
    def test_everything_of_the_contract_can_be_said(self) -> None:
        spec = feature_view_pb2.FeatureServiceSpec()
        change_service_spec(
            spec,
            selections=[select("activity", ["spend"], version=3, prefix="u_", keys={"user_id": "sender_id"}), "week"],
            inputs={"amount": "float64"},
            on_demand={"ratio": ("amount / u_spend", "float64"), "big": OnDemand("ratio > 2", "bool", "Much more than ever.")},
        )
        assert as_json(spec) == {
            "selections": [
                {"view": "activity", "version": "3", "features": ["spend"], "prefix": "u_", "join_key_names": {"user_id": "sender_id"}},
                {"view": "week"},
            ],
            "request_inputs": [{"name": "amount", "type": "float64"}],
            "on_demand_features": [
                {"name": "ratio", "expression": "amount / u_spend", "type": "float64"},
                {"name": "big", "expression": "ratio > 2", "type": "bool", "description": "Much more than ever."},
            ],
        }
        change_service_spec(spec, on_demand={})
        assert (len(spec.selections), len(spec.request_inputs), len(spec.on_demand_features)) == (2, 1, 0)

    @pytest.mark.parametrize("given", [{"selections": [3]}, {"on_demand": {"ratio": "amount"}}])
    def test_what_is_none_is_refused(self, given: Any) -> None:
        with pytest.raises(InvalidArgument):
            change_service_spec(feature_view_pb2.FeatureServiceSpec(), **given)


class TestTrainingSets:
    def test_everything_of_the_contract_can_be_said(self) -> None:
        given: dict[str, Any] = {
            **{"spine": ("labels", 0), "label_time": "time", "dataset": "training", "columns": ["is_fraud"]},
            **{"strictly_before": True, "ignore_write_times": True, "include_event_times": True, "include_statuses": True},
            **{"skip_leak_report": True, "engine": "ray", "resources": JobResources(threads=2)},
        }
        by_service = as_json(training_set_spec("fraud", version=2, **given))
        by_views = as_json(training_set_spec(["activity"], **given))
        assert by_service["spine"] == {"dataset": "labels", "version": "0", "label_time_column": "time", "columns": ["is_fraud"]}
        assert (by_service["feature_service"], by_views["selections"]) == ("fraud", [{"view": "activity"}])
        assert by_service.keys() | by_views.keys() == set(feature_job_service_pb2.TrainingSetSpec.DESCRIPTOR.fields_by_name)

    def test_the_newest_version_of_a_spine_is_not_version_nought(self) -> None:
        assert not training_set_spec("fraud", spine="labels", label_time="time", dataset="training").spine.HasField("version")
        with pytest.raises(InvalidArgument, match="'labels' or"):
            training_set_spec("fraud", spine=("labels", "newest"), label_time="time", dataset="training")  # type: ignore[arg-type]


class TestPushes:
    def test_rows_are_sent_as_json_and_tables_as_arrow(self) -> None:
        noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
        inline = push_data([{"user_id": 7, "time": noon, "clicks": None}])
        assert as_json(inline) == {"rows": [{"user_id": 7.0, "time": "2026-11-27T12:00:00+00:00", "clicks": None}]}  # type: ignore[arg-type]
        exact = push_data([{"id": 2**60, "price": Decimal("1E+2"), "picture": b"\x00", "is_new": True}])
        assert as_json(exact)["rows"] == [{"id": str(2**60), "price": "100", "picture": "AA==", "is_new": True}]  # type: ignore[arg-type]
        stream = push_data(pd.DataFrame({"user_id": [7]}))
        assert pa.ipc.open_stream(stream).read_all().column("user_id").to_pylist() == [7]
        assert push_data(b"stream") == b"stream"

    @pytest.mark.parametrize(
        ("rows", "problem"),
        [
            ([], "there are no rows"),
            ({"user_id": 7}, "a dict is no list of rows"),
            ([7], "row 1 is a int"),
            ([{"user_id": 7}, {"user_id": object()}], "row 2, user_id: is a object"),
        ],
    )
    def test_what_cannot_be_sent_is_refused_with_the_row(self, rows: Any, problem: str) -> None:
        with pytest.raises(InvalidArgument, match=problem):
            push_data(rows)

    def test_rows_go_somewhere(self) -> None:
        assert push_target(online=True, offline=True) == "online_and_offline"
        assert (push_target(online=True, offline=False), push_target(online=False, offline=True)) == ("online", "offline")
        with pytest.raises(InvalidArgument):
            push_target(online=False, offline=False)


def test_what_is_not_there_is_none() -> None:
    found = statistics_value(
        feature_store_service_pb2.FeatureViewStatistics(features=[feature_store_service_pb2.FeatureStatistics(feature="a", mean_shift=0)])
    )
    assert (found.newest_event_time, found.event_age, found.online, found.online_lag) == (None, None, None, None)
    assert (found.features[0].mean, found.features[0].mean_shift) == (None, 0.0)
    made = training_set_value(feature_job_service_pb2.TrainingSet(dataset_version=0))
    assert (made.dataset_version, training_set_value(feature_job_service_pb2.TrainingSet()).dataset_version) == (0, None)


def test_errors_of_jobs_name_them() -> None:
    failed = materialization_value(
        feature_job_service_pb2.Materialization(
            id="m", view="activity", state=job_pb2.JOB_STATE_FAILED, error={"code": 5, "message": "there is no dataset activity"}
        )
    )
    assert (failed.is_done, failed.is_successful, failed.mode) == (True, False, "")
    assert FeatureJobFailed(failed).message == "materialization m of activity failed: there is no dataset activity"
    running = training_set_value(feature_job_service_pb2.TrainingSet(id="t", state=job_pb2.JOB_STATE_RUNNING))
    raised = FeatureJobUnfinished(running)
    assert raised.message == "training set t is still running; it goes on"
    assert "wait_for_training_set('t')" in raised.hint
