from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlmesh.errors import InvalidArgument, ProcessingFailed
from mlmesh.ingestion_options import ExpectationGate, SchemaContract
from mlmesh.job_specs import JobInput, JobOutput, JobResources, JobSpec, spec_message
from mlmesh.log_lines import LogLine
from mlmesh.plan import scan
from mlmesh.processing_jobs import (
    CheckResult,
    DifferentRow,
    EngineStatus,
    InputResult,
    JobError,
    JobExplanation,
    JobProgress,
    JobStateChange,
    OutputResult,
    ProcessingJob,
    ProcessingStatus,
    StepExplanation,
    job_value,
)
from mlops.common.v1 import job_pb2, log_pb2
from mlops.processing.v1 import processing_job_pb2, processing_service_pb2

FLIGHTS = scan("flights")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (ProcessingJob, processing_job_pb2.ProcessingJob),
        (InputResult, processing_job_pb2.InputResult),
        (OutputResult, processing_job_pb2.OutputResult),
        (CheckResult, processing_job_pb2.CheckResult),
        (DifferentRow, processing_job_pb2.DifferentRow),
        (JobProgress, processing_job_pb2.JobProgress),
        (JobExplanation, processing_job_pb2.JobExplanation),
        (StepExplanation, processing_job_pb2.StepExplanation),
        (ProcessingStatus, processing_service_pb2.ProcessingStatus),
        (EngineStatus, processing_service_pb2.EngineStatus),
        (JobStateChange, job_pb2.JobStateChange),
        (LogLine, log_pb2.LogLine),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_value_has_every_field_of_the_contract(value: type[Any], message: type[Message]) -> None:
    assert {field.name for field in fields(value)} == set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(
    ("value", "message", "elsewhere"),
    [
        # The name is the key of a mapping, and a plan is made of the outputs.
        (JobSpec, processing_job_pb2.JobSpec, {"plan"}),
        (JobInput, processing_job_pb2.JobInput, {"name"}),
        (JobOutput, processing_job_pb2.JobOutput, {"step", "dataset"}),
        (JobResources, processing_job_pb2.JobResources, {"timeout"}),
    ],
    ids=lambda kind: getattr(kind, "__name__", ""),
)
def test_a_job_can_be_asked_for_with_every_field_of_the_contract(value: type[Any], message: type[Message], elsewhere: set[str]) -> None:
    assert {field.name for field in fields(value)} - {"rows", "timeout_s"} == set(message.DESCRIPTOR.fields_by_name) - elsewhere


class TestSpecs:
    def test_relations_become_a_plan_whose_steps_are_the_outputs(self) -> None:
        late = FLIGHTS.filter("delay > 15")
        suite = {"name": "keys", "expectations": []}
        spec = JobSpec(
            inputs={"flights": ("flights", 0), "weather": JobInput("weather-daily", expectations=suite)},
            outputs={
                "late": late,
                "by_carrier": JobOutput(
                    late.aggregate(by="carrier", n="count(*)"),
                    mode="upsert",
                    keys=["carrier"],
                    schema_contract=SchemaContract(columns="freeze"),
                    gate=ExpectationGate(suite=suite),
                ),
                "again": late,
            },
            engine="dask",
            resources=JobResources(memory_mib=512, timeout_s=1.5),
            priority=-3,
        ).message()
        assert MessageToDict(spec, preserving_proto_field_name=True) == {
            "inputs": [
                {"name": "flights", "dataset": "flights", "version": "0"},
                {"name": "weather", "dataset": "weather-daily", "expectations": suite},
            ],
            "plan": {
                "steps": [
                    {"name": "flights", "scan": {"source": "flights"}},
                    {"name": "filter", "filter": {"input": "flights", "condition": "delay > 15"}},
                    {
                        "name": "aggregate",
                        "aggregate": {
                            "input": "filter",
                            "keys": [{"name": "carrier", "expression": '"carrier"'}],
                            "aggregations": [{"name": "n", "expression": "count(*)"}],
                        },
                    },
                ],
                "outputs": ["filter", "aggregate"],
            },
            "outputs": [
                {"step": "filter", "dataset": "late", "mode": "WRITE_MODE_OVERWRITE"},
                {
                    "step": "aggregate",
                    "dataset": "by_carrier",
                    "mode": "WRITE_MODE_UPSERT",
                    "keys": ["carrier"],
                    "schema_contract": {"columns": "CONTRACT_MODE_FREEZE"},
                    "gate": {"suite": suite},
                },
                {"step": "filter", "dataset": "again", "mode": "WRITE_MODE_OVERWRITE"},
            ],
            "engine": "ENGINE_DASK",
            "resources": {"memory_mib": 512, "timeout": "1.500s"},
            "priority": -3,
        }

    def test_of_a_select_the_name_of_the_output_is_enough(self) -> None:
        spec = JobSpec(inputs={"f": "flights"}, outputs="late", sql="SELECT * FROM f").message()
        assert (spec.sql, spec.WhichOneof("computation")) == ("SELECT * FROM f", "sql")
        assert [(one.step, one.dataset) for one in spec.outputs] == [("", "late")]

    def test_one_as_json_is_taken_as_it_is_kept(self) -> None:
        spec = JobSpec(inputs={"flights": "flights"}, outputs={"late": FLIGHTS.top(3)})
        kept = job_value(processing_job_pb2.ProcessingJob(spec=spec.message())).spec
        assert spec_message(kept) == spec_message(spec)

    @pytest.mark.parametrize(
        ("spec", "problem"),
        [
            (JobSpec(inputs={"flight": "flights"}, outputs={"late": FLIGHTS}), "scans 'flights', which is no input; there are 'flight'"),
            (JobSpec(inputs={}, outputs={"late": FLIGHTS}), "which is no input; there are none"),
            (JobSpec(inputs={"flights": "flights"}, outputs={"late": FLIGHTS}, sql="SELECT 1"), "give either sql or relations"),
            (JobSpec(inputs={"flights": "flights"}, outputs="late"), "give sql, or a relation for each output"),
            (JobSpec(inputs={"flights": "flights"}, outputs={}), "give sql, or a relation for each output"),
            (
                JobSpec(inputs={"flights": "flights"}, outputs={"late": FLIGHTS}, engine="flink"),
                "'flink' is none of: local, ray, dask, spark",
            ),
            (JobSpec(inputs="flights", outputs={"late": FLIGHTS}), "inputs are 'flights'"),  # type: ignore[arg-type]
            (JobSpec(inputs={"flights": 3}, outputs={"late": FLIGHTS}), "the input 'flights' is 3"),  # type: ignore[dict-item]
            (JobSpec(inputs={"flights": ("flights", "newest")}, outputs={"late": FLIGHTS}), "the input 'flights' is JobInput"),  # type: ignore[dict-item]
            (JobSpec(inputs={"flights": "flights"}, outputs={"late": "SELECT 1"}), "the output 'late' is 'SELECT 1'"),  # type: ignore[dict-item]
            (JobSpec(inputs={"flights": "flights"}, outputs={"late": None}), "the output 'late' is None"),  # type: ignore[dict-item]
            (JobSpec(inputs={"flights": "flights"}, outputs=FLIGHTS), "outputs are <scan flights>"),  # type: ignore[arg-type]
            ({"inputs": [{"nam": "flights"}]}, 'no field named "nam"'),
            ({"engine": "local"}, "the spec is none"),
            ("job.json", "'job.json' is no JobSpec"),
        ],
    )
    def test_what_is_wrong_whatever_the_mesh_has_is_refused_at_once(self, spec: Any, problem: str) -> None:
        with pytest.raises(InvalidArgument) as raised:
            spec_message(spec)
        assert problem in str(raised.value)


def test_a_failure_has_its_reason() -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="JOB_MEMORY_EXCEEDED", domain="mlmesh"))
    status = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="it needs more than 512 MiB", details=[detail])

    failed = job_value(processing_job_pb2.ProcessingJob(id="j", state=job_pb2.JOB_STATE_FAILED, error=status))

    assert failed.error == JobError("RESOURCE_EXHAUSTED", "JOB_MEMORY_EXCEEDED", "it needs more than 512 MiB")
    assert (failed.is_done, failed.is_successful) == (True, False)
    raised = ProcessingFailed(failed)
    assert (raised.reason, raised.message) == ("JOB_MEMORY_EXCEEDED", "processing job j failed: it needs more than 512 MiB")
