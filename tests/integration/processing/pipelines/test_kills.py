"""A server that is killed in the middle of a run."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_RUNNING as RUNNING
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1.pipeline_service_pb2_grpc import PipelineServiceStub
from mlops.processing.v1.processing_service_pb2_grpc import DataProcessingServiceStub

from tests.integration.processing.pipelines.piped import APPEND, INCREMENTAL, SUCCEEDED, Piped
from tests.integration.processing.pipelines.test_runs import Case, flights
from tests.integration.processing.server.served import ENDED, ServedProcessing
from tests.integration.processing.server.test_lives import own_process
from tests.integration.runtime.waiting import eventually


@contextmanager
def killed_at_the_end(local: ServedProcessing, folder: Path) -> Iterator[Piped]:
    """Pipelines of a server in a process of its own, which dies as by kill -9."""
    with own_process(local, folder) as (process, channel):
        served = replace(local, stub=DataProcessingServiceStub(channel))
        yield Piped(served, PipelineServiceStub(channel))
        process.send_signal(signal.SIGKILL)
        process.wait()


APPENDING = ("SELECT id, delay FROM flights", ())
UPSERTING = ("SELECT id, max(delay) AS delay FROM flights GROUP BY id", ("id",))


@pytest.mark.parametrize(
    ("how", "is_there"),
    [
        pytest.param(APPENDING, lambda job: job.state == RUNNING, id="append-running"),
        pytest.param(APPENDING, lambda job: job.progress.phase == "computing", id="append-computing"),
        pytest.param(APPENDING, lambda job: job.outputs[0].row_count > 0, id="append-sent"),
        pytest.param(UPSERTING, lambda job: job.outputs[0].row_count > 0, id="upsert-sent"),
        pytest.param(APPENDING, lambda job: job.outputs[0].ingestion_id != "", id="append-ingested"),
        pytest.param(UPSERTING, lambda job: job.outputs[0].HasField("version"), id="upsert-written"),
        pytest.param(APPENDING, lambda job: job.outputs[0].HasField("version"), id="append-written"),
    ],
)
def test_the_next_server_goes_on_and_no_row_is_lost_or_doubled(
    local: ServedProcessing, tmp_path: Path, how: tuple[str, tuple[str, ...]], is_there: Callable[[job_pb.ProcessingJob], bool]
) -> None:
    folder = local.mesh.folder / tmp_path.name[-20:]
    folder.mkdir()
    with killed_at_the_end(local, folder) as pipes:
        case = Case(pipes, sql=how[0], keys=how[1])
        case.run()
        version = local.versions(case.out)
        pipes.write(case.given, flights((6, "DL", 7.0), (7, "DL", None)), APPEND)
        job = pipes.begin(case.name)
        eventually(lambda: is_there(found := pipes.served.get(job.id)) or found.state in ENDED, 60)
    with killed_at_the_end(local, folder) as pipes:
        case.pipes = pipes
        ended = pipes.served.ended(job.id)

        assert (ended.state, ended.run_mode, ended.changed_rows) == (SUCCEEDED, INCREMENTAL, 2), ended
        assert sorted(row["id"] for row in case.rows()) == [1, 2, 3, 4, 5, 6, 7]
        assert local.versions(case.out) == version + 1
        assert len(pipes.quality(case.name)) == 2
        assert pipes.get(case.name).running_job_id == ""
        case.check()
        assert case.run() == (INCREMENTAL, "", 0, 0)
