"""Values and specifications of pipelines have all that the contract has."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import mlmesh
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from mlmesh import plan
from mlmesh.ingestion_options import ExpectationGate
from mlmesh.job_specs import JobResources
from mlmesh.pipeline_specs import PipelineInput, PipelineOutput, PipelineSpec, QualityRule, pipeline_spec_message
from mlmesh.pipelines import ColumnQuality, OutputQuality, Pipeline, PipelineVersion, QualityAlert, alert_value, quality_value
from mlops.processing.v1 import pipeline_pb2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Pipeline, pipeline_pb2.Pipeline),
        (PipelineVersion, pipeline_pb2.PipelineVersion),
        (ColumnQuality, pipeline_pb2.ColumnQuality),
        (OutputQuality, pipeline_pb2.OutputQuality),
        (QualityAlert, pipeline_pb2.QualityAlert),
        (QualityRule, pipeline_pb2.QualityRule),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_value_has_every_field_of_the_contract(value: type[Any], message: type[Message]) -> None:
    assert {field.name for field in fields(value)} == set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    ("value", "message", "elsewhere"),
    [
        # The name is the key of a mapping, and a plan is made of the outputs.
        (PipelineSpec, pipeline_pb2.PipelineSpec, {"plan"}),
        (PipelineInput, pipeline_pb2.PipelineInput, {"name"}),
        (PipelineOutput, pipeline_pb2.PipelineOutput, {"step", "dataset"}),
    ],
    ids=lambda kind: getattr(kind, "__name__", ""),
)
def test_a_pipeline_can_be_asked_for_with_every_field_of_the_contract(
    value: type[Any], message: type[Message], elsewhere: set[str]
) -> None:
    assert {field.name for field in fields(value)} - {"rows"} == set(message.DESCRIPTOR.fields_by_name) - elsewhere


def test_relations_become_a_plan_and_what_is_said_of_them_stays() -> None:
    suite = {"name": "keys", "expectations": []}
    flights = plan.scan("flights")
    spec = PipelineSpec(
        inputs={"flights": PipelineInput("raw", key_columns=["op"], expectations=suite), "names": "names"},
        outputs={
            "late": PipelineOutput(flights.filter("delay > 15"), gate=ExpectationGate(suite=suite)),
            "both": flights.join(plan.scan("names"), on="carrier"),
        },
        keys=["carrier"],
        engine="dask",
        resources=JobResources(memory_mib=512),
        quality_rules=[QualityRule(name="rows", statistic="row_count", dataset="late", at_least=0)],
    )

    message = spec.message()

    found = MessageToDict(message, preserving_proto_field_name=True)
    assert found["inputs"] == [
        {"name": "flights", "dataset": "raw", "key_columns": ["op"], "expectations": suite},
        {"name": "names", "dataset": "names"},
    ]
    assert found["outputs"] == [{"step": "filter", "dataset": "late", "gate": {"suite": suite}}, {"step": "join", "dataset": "both"}]
    assert found["quality_rules"] == [{"name": "rows", "dataset": "late", "statistic": "QUALITY_STATISTIC_ROW_COUNT", "at_least": 0.0}]
    assert (found["keys"], found["engine"], message.resources.memory_mib) == (["carrier"], "ENGINE_DASK", 512)
    assert pipeline_spec_message(found) == message


def test_what_is_no_spec_is_refused() -> None:
    with pytest.raises(mlmesh.errors.InvalidArgument):
        pipeline_spec_message({"inputs": [], "nothing": 1})
    with pytest.raises(mlmesh.errors.InvalidArgument, match="row_count, null_fraction"):
        QualityRule(name="r", statistic="size").message()


def test_a_number_that_is_not_there_is_none() -> None:
    quality = quality_value(pipeline_pb2.OutputQuality(columns=[pipeline_pb2.ColumnQuality(column="a", maximum=0)]))
    assert (quality.columns[0].mean, quality.columns[0].maximum) == (None, 0.0)
    alert = alert_value(pipeline_pb2.QualityAlert(state=pipeline_pb2.QUALITY_ALERT_STATE_OPEN))
    assert (alert.value, alert.state, alert.resolve_time) == (None, "open", None)
