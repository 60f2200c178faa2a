"""Pipelines made, changed, listed, deleted, and run by two at once; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from mlops.processing.v1 import pipeline_pb2 as pipeline_pb
from mlops.processing.v1 import pipeline_service_pb2 as pb
from mlops.processing.v1 import processing_service_pb2 as job_service_pb

from tests.integration.processing.pipelines.piped import CANCELLED, SUCCEEDED, Piped, piped
from tests.integration.processing.pipelines.test_runs import Case, spec_of
from tests.integration.processing.server.functions import waiting
from tests.integration.processing.server.served import Refusal, processing_beside, refusal_of


def refused(call: Callable[[], Any]) -> Refusal:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return refusal_of(error.value)


def slow(pipes: Piped, name: str, sign: Path) -> None:
    """A pipeline whose run waits for a file."""
    spec = pipeline_pb.PipelineSpec(
        inputs=[pipeline_pb.PipelineInput(name="t", dataset=pipes.served.dataset(pa.table({"a": [1]})))],
        plan=waiting(sign),
        outputs=[pipeline_pb.PipelineOutput(dataset=pipes.served.ingestion.new_dataset())],
    )
    pipes.create(name, spec)


def test_a_pipeline_is_made_changed_and_deleted(local_pipes: Piped) -> None:
    pipes = local_pipes
    case = Case(pipes)
    assert pipes.create("never", case.spec, validate_only=True).version == 1
    assert refused(lambda: pipes.get("never")).reason == "PIPELINE_NOT_FOUND"
    assert refused(lambda: pipes.create(case.name, case.spec)).reason == "PIPELINE_EXISTS"

    named = pipes.update(case.name, display_name="Größen", labels={"team": "a"}, etag=case.made.etag)
    assert (named.version, named.display_name, dict(named.labels)) == (1, "Größen", {"team": "a"})
    assert pipes.update(case.name, spec=case.spec).version == 1, "the same, with defaults filled in"
    stale = refused(lambda: pipes.update(case.name, display_name="x", etag=case.made.etag))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    other = spec_of(case.given, case.out, "SELECT carrier, max(delay) AS delay FROM flights GROUP BY carrier")
    assert pipes.update(case.name, spec=other, validate_only=True).version == 2
    assert pipes.get(case.name).version == 1
    changed = pipes.update(case.name, spec=other, description="what")
    assert (changed.version, changed.display_name, changed.description) == (2, "Größen", "what")
    assert pipes.get(case.name, version=1).spec == case.made.spec
    assert refused(lambda: pipes.get(case.name, version=3)).reason == "PIPELINE_VERSION_NOT_FOUND"
    assert pipes.update(case.name, "description").description == ""

    versions = pipes.stub.ListPipelineVersions(pb.ListPipelineVersionsRequest(name=case.name, page_size=1))
    assert [each.version for each in versions.versions] == [2]
    rest = pb.ListPipelineVersionsRequest(name=case.name, page_size=1, page_token=versions.next_page_token)
    assert [each.version for each in pipes.stub.ListPipelineVersions(rest).versions] == [1]
    listed = pipes.stub.ListPipelines(pb.ListPipelinesRequest(filter='labels.team = "a" AND display_name = "Größen"'))
    assert [each.name for each in listed.pipelines] == [case.name]

    assert refused(lambda: pipes.check(case.name)).reason == "PIPELINE_NOT_RUN"
    pipes.stub.DeletePipeline(pb.DeletePipelineRequest(name=case.name))
    assert refused(lambda: pipes.get(case.name)).reason == "PIPELINE_NOT_FOUND"
    assert pipes.create(case.name, case.spec).version == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"keys": ["nothing"]}, ""),
        ({"sql": "SELECT nothing FROM flights"}, ""),
        ({"outputs": [{"dataset": "GIVEN"}]}, "spec.inputs[0].dataset"),
        ({"quality_rules": [{"name": "r", "statistic": 1, "column": "delay", "at_least": 1}]}, "spec.quality_rules[0].column"),
        ({"quality_rules": [{"name": "r", "statistic": 4, "column": "carrier", "at_least": 1}]}, "spec.quality_rules[0].column"),
        ({"quality_rules": [{"name": "r", "statistic": 4, "column": "nope", "at_least": 1}]}, "spec.quality_rules[0].column"),
        ({"quality_rules": [{"name": "r", "statistic": 1, "at_least": 1}] * 2}, "spec.quality_rules[1].name"),
        ({"quality_rules": [{"name": "r", "statistic": 1, "at_least": 2, "at_most": 1}]}, "spec.quality_rules[0].at_least"),
        ({"inputs": [{"name": "flights", "dataset": "GIVEN", "key_columns": ["id", "carrier"]}]}, "spec.inputs[0].key_columns"),
    ],
)
def test_what_contradicts_itself_is_refused(local_pipes: Piped, change: dict[str, Any], field: str) -> None:
    given = local_pipes.served.dataset(pa.table({"id": [1], "carrier": ["UA"], "delay": [1.0]}), "refused_input")
    spec = spec_of(given, "refused_output")
    for name in change:
        spec.ClearField(name)
    wanted = {name: [{k: given if v == "GIVEN" else v for k, v in one.items()} if isinstance(one, dict) else one for one in value]
              if isinstance(value, list) else value for name, value in change.items()}  # fmt: skip
    spec.MergeFrom(pipeline_pb.PipelineSpec(**wanted))

    found = refused(lambda: local_pipes.create("refused", spec))

    assert found.code == grpc.StatusCode.INVALID_ARGUMENT, found
    assert found.metadata.get("field", "") == field, found


def test_one_run_at_a_time_also_where_two_servers_are_asked(local_pipes: Piped, tmp_path: Path) -> None:
    sign = tmp_path / "go"
    slow(local_pipes, "slow", sign)
    served = local_pipes.served
    with processing_beside(served.mesh, served.ingestion, data_dir=served.data_dir) as beside, piped(beside) as other:

        def begin(pipes: Piped) -> str:
            try:
                return pipes.begin("slow").id
            except grpc.RpcError as error:
                return refusal_of(error).reason

        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(begin, [local_pipes, other] * 4))

    running = [each for each in found if "-" in each]
    assert len(running) == 1, found
    assert set(found) - set(running) == {"PIPELINE_RUNNING"}
    assert local_pipes.get("slow").running_job_id == running[0]
    in_use = refused(lambda: local_pipes.stub.DeletePipeline(pb.DeletePipelineRequest(name="slow")))
    assert (in_use.code, in_use.metadata["job_id"]) == (grpc.StatusCode.FAILED_PRECONDITION, running[0])
    served.stub.CancelProcessingJob(job_service_pb.CancelProcessingJobRequest(id=running[0]))
    assert served.ended(running[0]).state == CANCELLED
    assert local_pipes.get("slow").running_job_id == ""
    again = refused(lambda: served.stub.RetryProcessingJob(job_service_pb.RetryProcessingJobRequest(id=running[0])))
    assert again.reason == "JOB_OF_PIPELINE"

    sign.touch()
    assert local_pipes.run("slow").state == SUCCEEDED
    jobs = served.stub.ListProcessingJobs(job_service_pb.ListProcessingJobsRequest(filter='pipeline = "slow"')).jobs
    assert [job.pipeline for job in jobs] == ["slow", "slow"]
    local_pipes.stub.DeletePipeline(pb.DeletePipelineRequest(name="slow"))
    assert served.get(running[0]).pipeline == "slow"
