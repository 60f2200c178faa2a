"""Outputs are written once, whenever their writer dies."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb
from sqlalchemy import Engine

from demo.real_servers.s3 import S3Server
from servers.processing.ingestion_peer import SERVICES, IngestionPeer
from servers.processing.jobs.job_log import JobLog
from servers.processing.jobs.writing import OutputsGone, OutputWriter
from servers.processing.records import Job, NewJob, OutputState
from servers.processing.settings import ProcessingSettings
from servers.processing.store import Attempt, Jobs, Logs, open_store
from servers.runtime.peers import open_channel
from servers.runtime.work import Cancelled, LeaseLost, NewTask, TaskTable
from sql_engine import write
from tests.integration.client.cutting_proxy import CuttingProxy
from tests.integration.ingestion.server.places import S3Place
from tests.integration.ingestion.server.served import Mesh
from tests.integration.ingestion.server.served import served as served_ingestion
from tests.integration.processing.server.served import ENDED, ServedProcessing, processing_beside
from tests.small_mesh.identity import StaticToken


class Killed(BaseException):
    """As if the process had been killed here."""


class Points:
    """Kills at one of the points that are reached.

    Args:
        stop_at: Which, from 1; 0 for none.
    """

    def __init__(self, stop_at: int) -> None:
        self._left = stop_at

    def around(self, target: Any, *names: str) -> Any:
        """The same object, with a point before and one after each call of some methods."""

        def method(name: str) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                self._reach()
                answer = getattr(target, name)(*arguments)
                self._reach()
                return answer

            return call

        members = {name: getattr(target, name) for name in dir(target) if not name.startswith("_")}
        return type("Mortal", (), {**{name: staticmethod(member) for name, member in members.items() if callable(member)},
                                   **{name: staticmethod(method(name)) for name in names}})()  # fmt: skip

    def _reach(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


@dataclass
class Bench:
    """A store of jobs beside a real ingestion server."""

    server: ServedProcessing
    engine: Engine
    jobs: Jobs
    peer: IngestionPeer
    file: Path

    def new_job(self) -> Job:
        """A job with two outputs that nobody has begun."""
        datasets = [self.server.ingestion.new_dataset() for _ in range(2)]
        append = ingestion_pb2.WRITE_MODE_APPEND
        spec = job_pb.JobSpec(sql="-", outputs=[job_pb.JobOutput(step="s", dataset=name, mode=append) for name in datasets])
        outputs = tuple(OutputState("s", name) for name in datasets)
        new = NewJob(str(uuid.uuid4()), "default", "", {}, spec, (), outputs, "tester", datetime.now(UTC))
        tasks = TaskTable(self.engine)

        def keep(connection: Any) -> None:
            self.jobs.add(connection, new)
            tasks.enqueue(connection, NewTask(task_id=new.id, kind="test", payload={}))

        write(self.engine, keep)
        return self.jobs.work_of(new.id)

    def attempt(self, job_id: str, stop_at: int = 0) -> list[OutputState]:
        """One attempt, which may be killed."""
        points, attempt = Points(stop_at), Attempt(job_id, str(uuid.uuid4()))
        self.jobs.begin(attempt, datetime.now(UTC), lambda _connection: None)
        job = self.jobs.work_of(job_id)
        log = JobLog(job_id, Logs(self.engine, 100), lambda: datetime.now(UTC))
        peer, jobs = points.around(self.peer, "upload", "ingest"), points.around(self.jobs, "record_output")
        writer = OutputWriter(peer, jobs, attempt, job, log, lambda: None)
        if not writer.has_all_rows():
            writer.send({"s": {"rows": 2, "file": str(self.file)}})
        writer.write(lambda: None)
        return list(self.jobs.work_of(job_id).outputs)


@pytest.fixture
def bench(local: ServedProcessing, tmp_path: Path) -> Iterator[Bench]:
    settings = ProcessingSettings(data_dir=tmp_path)
    engine, file = open_store(settings), tmp_path / "rows.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), file)
    channel = open_channel(local.ingestion.server.address, identity=StaticToken(local.mesh.issuer.token()), services=SERVICES)
    yield Bench(local, engine, Jobs(engine), IngestionPeer(channel, 10), file)
    channel.close()
    engine.dispose()


def test_a_writer_that_dies_before_or_after_any_step_writes_once(bench: Bench) -> None:
    stop_at = 0
    while True:
        stop_at += 1
        job = bench.new_job()
        try:
            bench.attempt(job.id, stop_at)
            break
        except Killed:
            outputs = bench.attempt(job.id)
        for output in outputs:
            where = f"killed at point {stop_at}: {output}"
            assert (output.is_written, output.row_count, output.version) == (True, 2, 1), where
            assert bench.server.versions(output.dataset) == 1, where
            assert len(bench.server.rows(output.dataset)) == 2, where
    assert stop_at > 20


def test_rows_that_another_attempt_has_sent_twice_are_written_once(bench: Bench) -> None:
    job = bench.new_job()
    with pytest.raises(Killed):
        bench.attempt(job.id, 10)  # The first output is taken, and nobody has kept that.
    attempt = Attempt(job.id, "mine")
    bench.jobs.begin(attempt, datetime.now(UTC), lambda _connection: None)
    (first, _) = bench.jobs.work_of(job.id).outputs
    assert (first.ingestion_id, first.upload_id != "") == ("", True)
    bench.jobs.record_output(attempt, 0, replace(first, upload_id=""))

    outputs = bench.attempt(job.id)

    assert [bench.server.versions(output.dataset) for output in outputs] == [1, 1]
    assert [len(bench.server.rows(output.dataset)) for output in outputs] == [2, 2]
    with pytest.raises(LeaseLost):
        bench.jobs.record_output(attempt, 0, first)


def test_what_was_begun_when_the_job_was_cancelled_is_known_to_it(bench: Bench) -> None:
    job, calls = bench.new_job(), list[str]()
    attempt = Attempt(job.id, "mine")
    bench.jobs.begin(attempt, datetime.now(UTC), lambda _connection: None)
    ingest = bench.peer.ingest

    def left_at_once(*arguments: Any) -> str:
        """As if the job had been cancelled while the call was under way, which goes on."""
        calls.append(ingest(*arguments))
        if len(calls) == 1:
            raise Cancelled
        return calls[-1]

    bench.peer.ingest = left_at_once  # type: ignore[method-assign]
    log = JobLog(job.id, Logs(bench.engine, 100), lambda: datetime.now(UTC))
    writer = OutputWriter(bench.peer, bench.jobs, attempt, bench.jobs.work_of(job.id), log, lambda: None)
    writer.send({"s": {"rows": 2, "file": str(bench.file)}})

    with pytest.raises(Cancelled):
        writer.write(lambda: None)

    first, second = bench.jobs.work_of(job.id).outputs
    assert (calls, second.ingestion_id) == ([first.ingestion_id] * 2, "")
    stopped = bench.server.ingestion.ended(first.ingestion_id)
    assert first.is_written == (stopped.state == job_pb2.JOB_STATE_SUCCEEDED)
    assert bench.server.ingestion.exists(first.dataset) == first.is_written


def test_rows_that_were_sent_and_are_gone_are_computed_again(bench: Bench) -> None:
    job = bench.new_job()
    with pytest.raises(Killed):
        bench.attempt(job.id, 9)  # Sent, and nothing is taken.
    for output in bench.jobs.work_of(job.id).outputs:
        bench.peer.forget("default", output.upload_id)

    with pytest.raises(OutputsGone):
        bench.attempt(job.id)

    assert [output.is_written for output in bench.attempt(job.id)] == [True, True]


@pytest.fixture
def held(s3_access: S3Server) -> Iterator[CuttingProxy]:
    """A way to the S3 that holds the first connection, and no later one."""
    parts = urlsplit(s3_access.endpoint)
    with CuttingProxy((parts.hostname or "", parts.port or 0), hold_after_bytes=1) as proxy:
        yield proxy


def test_an_output_that_waits_to_be_written_is_stopped_with_its_job(mesh: Mesh, s3_access: S3Server, held: CuttingProxy) -> None:
    place = S3Place(s3_access, endpoint=held.url)
    with (
        served_ingestion(mesh, place, concurrent_ingestions=1) as ingestion,
        processing_beside(mesh, ingestion, s3_endpoint=s3_access.endpoint) as server,
    ):
        data = server.dataset(pa.table({"a": [1]}))
        blocker = ingestion.start("blocker", place.put("held.csv", b"a\n1\n"))
        assert held.holds.wait(60)
        job = server.create(server.spec({"t": data}, "SELECT * FROM t", "out"))
        waiting = server.until(job.id, lambda found: found.outputs[0].ingestion_id != "" or found.state in ENDED)
        assert waiting.progress.phase == "writing", waiting

        server.stub.CancelProcessingJob(pb.CancelProcessingJobRequest(id=job.id))

        assert server.ended(job.id).state == job_pb2.JOB_STATE_CANCELLED
        assert ingestion.ended(waiting.outputs[0].ingestion_id).state == job_pb2.JOB_STATE_CANCELLED
        assert not ingestion.exists("out")
        ingestion.stub.CancelIngestion(ingestion_pb.CancelIngestionRequest(id=blocker.id))
        assert ingestion.ended(blocker.id).state == job_pb2.JOB_STATE_CANCELLED
