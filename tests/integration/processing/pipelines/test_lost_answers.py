"""What was taken by a server that died before it had answered is not taken again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from mlops.processing.v1 import pipeline_service_pb2 as pipeline_pb
from mlops.processing.v1 import processing_service_pb2 as pb

from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import Mesh
from tests.integration.processing.pipelines.piped import FAILED, SUCCEEDED, piped
from tests.integration.processing.pipelines.test_runs import Case
from tests.integration.processing.server.served import served
from tests.integration.runtime.lost_answers import lose_answers_of


def test_jobs_pipelines_and_their_runs_are_taken_once(mesh: Mesh, tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/mesh.db"
    with served(mesh, FolderPlace(tmp_path / "place"), database_url=database_url) as server, piped(server) as pipes:

        def three_times(call: Callable[[Any], Any], request: Any) -> Any:
            request.request_id = str(uuid.uuid4())
            first = call(request)
            lose_answers_of(database_url, "processing")
            again = [call(request), call(request)]
            assert [each.create_time for each in again] == [first.create_time] * 2
            return first

        rows = server.dataset(pa.table({"a": ["1", "no"]}))
        spec = server.spec({"t": rows}, "SELECT a::INT AS a FROM t", server.ingestion.new_dataset(), max_attempts=1)
        failed = server.ended(three_times(server.stub.CreateProcessingJob, pb.CreateProcessingJobRequest(spec=spec)).id)
        assert failed.state == FAILED
        retried = three_times(server.stub.RetryProcessingJob, pb.RetryProcessingJobRequest(id=failed.id))
        assert server.ended(retried.id).retry_of == failed.id

        case = Case(pipes)
        again = pipeline_pb.CreatePipelineRequest(name=f"{case.name}-again", spec=case.spec)
        again.spec.outputs[0].dataset = server.ingestion.new_dataset()
        assert three_times(pipes.stub.CreatePipeline, again).version == 1
        # While it runs, another run would be refused.
        run = three_times(pipes.stub.RunPipeline, pipeline_pb.RunPipelineRequest(name=case.name))
        assert server.ended(run.id).state == SUCCEEDED
        check = three_times(pipes.stub.CheckPipeline, pipeline_pb.CheckPipelineRequest(name=case.name))
        assert server.ended(check.id).state == SUCCEEDED

        assert len(server.stub.ListProcessingJobs(pb.ListProcessingJobsRequest()).jobs) == 4
