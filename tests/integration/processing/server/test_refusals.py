"""What is wrong with a job is said before it is taken."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pyarrow as pa
import pytest
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import plan_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb

from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import Mesh
from tests.integration.processing.server.functions import plan_of
from tests.integration.processing.server.served import ServedProcessing, processing_beside, refusal_of, served
from tests.integration.processing.server.test_jobs import suite

INVALID, MISSING, PRECONDITION, DENIED = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)
ROWS = pa.table({"a": [1, 2], "name": ["x", "y"]})


@pytest.fixture(scope="module")
def data(local: ServedProcessing) -> str:
    return local.dataset(ROWS)


def _scan(**fields: Any) -> plan_pb2.Step:
    return plan_pb2.Step(name="t", scan=plan_pb2.Scan(source="t", **fields))


def _plan(*steps: plan_pb2.Step, outputs: tuple[str, ...] = ("out",)) -> Callable[[job_pb.JobSpec], None]:
    return lambda spec: spec.plan.CopyFrom(plan_pb2.Plan(steps=[_scan(), *steps], outputs=outputs))


def _filter(condition: str, name: str = "out", source: str = "t") -> plan_pb2.Step:
    return plan_pb2.Step(name=name, filter=plan_pb2.Filter(input=source, condition=condition))


def _sql(text: str) -> Callable[[job_pb.JobSpec], None]:
    return lambda spec: setattr(spec, "sql", text)


def _set(path: str, value: Any) -> Callable[[job_pb.JobSpec], None]:
    def change(spec: job_pb.JobSpec) -> None:
        *parents, name = path.split(".")
        found: Any = spec
        for parent in parents:
            found = found[int(parent)] if parent.isdecimal() else getattr(found, parent)
        if isinstance(value, (list, tuple)):
            getattr(found, name).extend(value)
        elif hasattr(value, "DESCRIPTOR"):
            getattr(found, name).CopyFrom(value)
        else:
            setattr(found, name, value)

    return change


CASES: Mapping[str, tuple[Callable[[job_pb.JobSpec], Any], grpc.StatusCode, str, Mapping[str, str]]] = {
    "a typing mistake in SQL": (_sql("SELECT a\nFRM t"), INVALID, "INVALID_SQL", {"line": "2"}),
    "a column that is not there": (_sql("SELECT a,\n  nam FROM t"), INVALID, "UNKNOWN_COLUMN", {"line": "2", "column": "3"}),
    "an input that is not there": (_sql("SELECT * FROM u"), INVALID, "UNKNOWN_INPUT", {"line": "1", "column": "15"}),
    "the clock": (_sql("SELECT now() AS n FROM t"), INVALID, "VOLATILE_FUNCTION", {"line": "1"}),
    "what plans do not know": (_sql("SELECT * FROM t EXCEPT SELECT * FROM t"), INVALID, "UNSUPPORTED_SQL", {}),
    "a type that does not go with an operator": (_plan(_filter("a > name || 'x' + 1")), INVALID, "TYPE_MISMATCH", {"step": "out"}),
    "a condition that is none": (_plan(_filter("a >")), INVALID, "INVALID_EXPRESSION", {"step": "out"}),
    "a step that is not there": (_plan(_filter("true", source="s")), INVALID, "UNKNOWN_STEP", {"step": "out"}),
    "a circle": (
        _plan(_filter("true", "out", "two"), _filter("true", "two", "out"), outputs=("out", "t")), INVALID, "PLAN_CYCLE", {},
    ),
    "a step that nobody needs": (_plan(_filter("true"), _filter("true", "spare")), INVALID, "INVALID_PLAN", {"step": "spare"}),
    "an output that is written nowhere": (_plan(_filter("true"), outputs=("out", "t")), INVALID, "INVALID_PLAN", {}),
    "a type that no dataset holds": (_sql("SELECT INTERVAL 1 DAY AS i FROM t"), INVALID, "UNSUPPORTED_TYPE", {"step": "result"}),
    "an output that is no output": (_set("outputs.0.step", "t"), INVALID, "INVALID_PLAN", {}),
    "a key that is no column": (_set("outputs.0.keys", ["b"]), INVALID, "INVALID_JOB", {"field": "spec.outputs[0].keys"}),
    "an upsert without keys": (
        _set("outputs.0.mode", ingestion_pb2.WRITE_MODE_UPSERT), INVALID, "INVALID_JOB", {"field": "spec.outputs[0].keys"},
    ),
    "two inputs of one name": (_set("inputs", [job_pb.JobInput(name="T", dataset="x")]), INVALID, "INVALID_JOB", {}),
    "two outputs into one dataset": (lambda spec: spec.outputs.append(spec.outputs[0]), INVALID, "INVALID_JOB", {}),
    "a dataset that is not there": (_set("inputs.0.dataset", "nothing"), MISSING, "DATASET_NOT_FOUND", {"name": "nothing"}),
    "a version that never was": (_set("inputs.0.version", 77), MISSING, "TABLE_VERSION_NOT_FOUND", {}),
    "an engine that is not installed": (_set("engine", job_pb.ENGINE_SPARK), PRECONDITION, "ENGINE_NOT_INSTALLED", {"engine": "SPARK"}),
    "too much memory": (_set("resources.memory_mib", 1 << 20), INVALID, "JOB_RESOURCES_TOO_LARGE", {"field": "spec.resources.memory_mib"}),
    "too little memory": (_set("resources.memory_mib", 100), INVALID, "JOB_RESOURCES_TOO_LARGE", {}),
    "too many threads": (_set("resources.threads", 4096), INVALID, "JOB_RESOURCES_TOO_LARGE", {}),
    "too long": (_set("resources.timeout.seconds", 10**6), INVALID, "JOB_RESOURCES_TOO_LARGE", {}),
    "expectations that nobody knows": (
        _set("inputs.0.expectations", suite({"type": "expect_nothing", "kwargs": {}})), INVALID, "UNKNOWN_EXPECTATION",
        {"field": "spec.inputs[0].expectations"},
    ),
    "a gate that nobody knows": (
        _set("outputs.0.gate.suite", suite({"type": "expect_nothing", "kwargs": {}})), INVALID, "UNKNOWN_EXPECTATION",
        {"field": "spec.outputs[0]"},
    ),
    "a dataset that may not be made": (
        _set("outputs.0.schema_contract.tables", ingestion_pb2.CONTRACT_MODE_FREEZE), PRECONDITION, "SCHEMA_FROZEN",
        {"field": "spec.outputs[0]"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_job_that_cannot_run_is_refused(local: ServedProcessing, data: str, case: str) -> None:
    change, code, reason, facts = CASES[case]
    spec = local.spec({"t": data}, "SELECT * FROM t", f"never_{uuid.uuid4().hex[:8]}")
    change(spec)

    with pytest.raises(grpc.RpcError) as refused:
        local.create(spec)

    found = refusal_of(refused.value)
    assert (found.code, found.reason) == (code, reason), found
    assert facts.items() <= found.metadata.items(), found
    assert not local.stub.ListProcessingJobs(pb.ListProcessingJobsRequest()).jobs


FUNCTION = plan_of("def work(batch):\n    return batch")
RUN = ["processing.jobs.run", "processing.jobs.read"]


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        ({"*": ["ingestion.*"]}, "processing.jobs.run"),
        ({"*": RUN}, "ingestion.data.read"),
        ({"*": [*RUN, "ingestion.data.read"]}, "ingestion.data.write"),
        ({"*": RUN, "other": ["ingestion.data.*"]}, "ingestion.data.read"),
        ({"*": [*RUN, "ingestion.data.*"]}, "processing.functions.run"),
    ],
)
def test_a_caller_needs_the_rights_to_what_the_job_does(
    local: ServedProcessing, data: str, grants: Mapping[str, list[str]], missing: str
) -> None:
    request = pb.CreateProcessingJobRequest(spec=local.spec({"t": data}, plan=FUNCTION, output="never"), validate_only=True)

    with pytest.raises(grpc.RpcError) as refused:
        local.stub_of(grants).CreateProcessingJob(request)

    found = refusal_of(refused.value)
    assert (found.code, found.metadata["permission"]) == (DENIED, missing), found


def test_whoever_may_read_alone_explains_and_runs_nothing(local: ServedProcessing, data: str) -> None:
    reader = local.stub_of({"*": ["processing.jobs.read", "ingestion.data.read"]})
    spec = local.spec({"t": data}, "SELECT * FROM t", "never")

    assert reader.ExplainProcessingJob(pb.ExplainProcessingJobRequest(spec=spec)).steps
    with pytest.raises(grpc.RpcError) as refused:
        reader.CreateProcessingJob(pb.CreateProcessingJobRequest(spec=spec))
    assert refused.value.code() is DENIED


@pytest.fixture
def careful(local: ServedProcessing) -> Iterator[ServedProcessing]:
    """A server with its default settings."""
    with processing_beside(local.mesh, local.ingestion, allows_python_functions=False) as running:
        yield running


def test_python_functions_have_to_be_allowed(careful: ServedProcessing, data: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        careful.create(careful.spec({"t": data}, plan=FUNCTION, output="never"))

    found = refusal_of(refused.value)
    assert (found.code, found.reason, found.metadata) == (PRECONDITION, "PYTHON_FUNCTIONS_NOT_ALLOWED", {"step": "f"})
    assert "MLMESH_PROCESSING_ALLOWS_PYTHON_FUNCTIONS" in found.message


def test_a_job_of_another_project_is_not_there(local: ServedProcessing) -> None:
    for call, request in (
        (local.stub.GetProcessingJob, pb.GetProcessingJobRequest(id=str(uuid.uuid4()))),
        (local.stub.CancelProcessingJob, pb.CancelProcessingJobRequest(id=str(uuid.uuid4()))),
        (local.stub.RetryProcessingJob, pb.RetryProcessingJobRequest(id=str(uuid.uuid4()))),
        (local.stub.GetProcessingStatus, pb.GetProcessingStatusRequest(job_id=str(uuid.uuid4()))),
        (lambda asked: list(local.stub.TailProcessingJobLogs(asked)), pb.TailProcessingJobLogsRequest(id=str(uuid.uuid4()))),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call(request)
        assert refusal_of(refused.value).reason == "PROCESSING_JOB_NOT_FOUND"


def test_without_ingestion_no_job_is_taken(mesh: Mesh, tmp_path: Any) -> None:
    with served(mesh, FolderPlace(tmp_path / "place"), ingestion_address="") as alone, pytest.raises(grpc.RpcError) as refused:
        alone.create(alone.spec({"t": "x"}, "SELECT 1 AS a FROM t", "out"))

    assert "MLMESH_INGESTION_ADDRESS" in refusal_of(refused.value).message
