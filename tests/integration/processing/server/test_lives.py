"""Jobs that are stopped, take too much, crash, or lose their server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import psutil
import pyarrow as pa
import pytest
from mlops.common.v1 import job_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb
from mlops.processing.v1.processing_service_pb2_grpc import DataProcessingServiceStub

from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import Mesh, bearing
from tests.integration.processing.server.functions import HERE, plan_of, waiting
from tests.integration.processing.server.served import (
    ENDED,
    PATIENCE_S,
    ServedProcessing,
    processing_beside,
    reason_of,
    refusal_of,
    served,
)
from tests.integration.runtime.waiting import eventually

QUEUED, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED = (
    job_pb2.JOB_STATE_QUEUED,
    job_pb2.JOB_STATE_RUNNING,
    job_pb2.JOB_STATE_CANCELLING,
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED,
    job_pb2.JOB_STATE_CANCELLED,
)


@pytest.fixture(scope="module")
def data(local: ServedProcessing) -> str:
    return local.dataset(pa.table({"a": [1, 2, 3]}))


def begun(server: ServedProcessing, plan: object, data: str, out: str = "never", **more: object) -> job_pb.ProcessingJob:
    """A job whose function is at work."""
    job = server.create(server.spec({"t": data}, plan=plan, output=out, **more))
    has_begun(server, job.id)
    return job


def has_begun(server: ServedProcessing, job_id: str) -> None:
    eventually(lambda: HERE in server.log(job_id, ends_at_last_line=True) or server.get(job_id).state in ENDED, 60)
    assert server.get(job_id).state == RUNNING, server.get(job_id)


def cancelled(server: ServedProcessing, job_id: str) -> job_pb.ProcessingJob:
    job: job_pb.ProcessingJob = server.stub.CancelProcessingJob(pb.CancelProcessingJobRequest(id=job_id))
    return job


def test_a_job_that_computes_is_cancelled_with_all_that_it_started(local: ServedProcessing, data: str) -> None:
    source = f"""
import subprocess, time
def work(batch):
    print("started", subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    print({HERE!r})
    time.sleep(600)
"""
    job = begun(local, plan_of(source), data)
    (pid,) = (int(line.split()[1]) for line in local.log(job.id, ends_at_last_line=True) if line.startswith("started"))
    process = psutil.Process(pid)

    asked = cancelled(local, job.id)

    ended = local.ended(job.id)
    assert (asked.state, ended.state) == (CANCELLING, CANCELLED)
    assert [change.state for change in ended.state_history] == [QUEUED, RUNNING, CANCELLING, CANCELLED]
    assert not ended.HasField("error")
    eventually(lambda: not is_alive(process), 60)
    assert local.log(job.id)[-1] == "cancelled"
    assert cancelled(local, job.id).state == CANCELLED


def test_jobs_wait_in_the_order_of_their_priority(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    signs = [tmp_path / f"go_{number}" for number in range(2)]
    running = [begun(local, waiting(sign), data, f"runs_{number}") for number, sign in enumerate(signs)]
    waits = [
        local.create(local.spec({"t": data}, "SELECT * FROM t", f"waits_{number}", priority=priority))
        for number, priority in enumerate((0, 5, -1, 0))
    ]

    status = local.stub.GetProcessingStatus(pb.GetProcessingStatusRequest(job_id=waits[0].id))
    gone = cancelled(local, waits[3].id)
    # One place alone gets free: two that get free together are taken by two jobs at the same moment.
    signs[0].touch()
    waited = [local.ended(job.id) for job in waits[:3]]
    signs[1].touch()

    assert [job.id for job in status.running] == [job.id for job in running]
    assert [job.id for job in status.queued] == [waits[place].id for place in (1, 0, 3, 2)]
    assert (status.engines[0].running_jobs, status.engines[0].queued_jobs, status.concurrent_jobs) == (2, 4, 2)
    assert status.engines[0].is_available
    assert (status.job.id, status.job.state, gone.state) == (waits[0].id, QUEUED, CANCELLED)
    assert [job.state for job in (*waited, *(local.ended(job.id) for job in running))] == [SUCCEEDED] * 5
    ordinary, urgent, idle = (job.start_time.ToNanoseconds() for job in waited)
    assert urgent < ordinary < idle


def test_a_job_that_takes_too_much_memory_fails_alone(local: ServedProcessing, data: str) -> None:
    # Not as fast as it can: it would have all of a machine that looks at it too late.
    hog = plan_of(
        "import time\ndef work(batch):\n    kept = []\n    while True:\n        kept.append(b'x' * (8 << 20))\n        time.sleep(0.02)"
    )
    greedy = local.create(local.spec({"t": data}, plan=hog, output="never", resources={"memory_mib": 512}))
    modest = local.create(local.spec({"t": data}, "SELECT * FROM t", "modest"))

    ended = local.ended(greedy.id)

    assert (ended.state, reason_of(ended), ended.error.code) == (FAILED, "JOB_OUT_OF_MEMORY", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert ended.peak_memory_bytes > 512 << 20
    assert "512" in ended.error.message
    assert local.ended(modest.id).state == SUCCEEDED
    assert not local.ingestion.exists("never")


def test_what_does_not_fit_into_memory_is_spilled(local: ServedProcessing) -> None:
    numbers = local.dataset(pa.table({"a": list(range(900_000)), "text": [f"{number:064}" for number in range(900_000)]}))
    spec = local.spec({"t": numbers}, "SELECT l.a, l.text, r.text AS other FROM t l JOIN t r ON l.a = r.a ORDER BY l.text DESC", "sorted")
    spec.resources.memory_mib = 512

    ended = local.run(spec)

    assert ended.state == SUCCEEDED, ended.error
    assert (ended.outputs[0].row_count, ended.peak_memory_bytes < 512 << 20) == (900_000, True)


def test_an_attempt_has_its_time(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    spec = local.spec({"t": data}, plan=waiting(tmp_path / "never"), output="never", resources={"timeout": {"seconds": 2}})

    ended = local.run(spec)

    assert (ended.state, reason_of(ended), ended.attempt) == (FAILED, "JOB_TIMED_OUT", 1)


@pytest.mark.parametrize(
    ("source", "reason", "attempts"),
    [
        ("def work(batch):\n    raise ValueError('no way')", "PYTHON_FUNCTION_FAILED", 1),
        ("import os\ndef work(batch):\n    os.abort()", "JOB_PROCESS_DIED", 1),
        ("import os\ndef work(batch):\n    os._exit(3)", "JOB_PROCESS_DIED", 1),
        ("import os\ndef work(batch):\n    os.kill(os.getpid(), 9)", "JOB_PROCESS_LOST", 2),
        ("import os\ndef work(batch):\n    os.close(2); os.close(1); raise SystemExit(0)", "JOB_PROCESS_DIED", 1),
    ],
)
def test_a_crash_is_the_jobs_own(local: ServedProcessing, data: str, source: str, reason: str, attempts: int) -> None:
    ended = local.run(local.spec({"t": data}, plan=plan_of(source), output="never", max_attempts=2))

    assert (ended.state, reason_of(ended), ended.attempt) == (FAILED, reason, attempts), ended
    assert [change.state for change in ended.state_history] == [QUEUED, RUNNING] * attempts + [FAILED]


def test_a_job_that_failed_is_taken_again_as_another_one(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    source = f"import os\ndef work(batch):\n    assert os.path.exists({str(sign)!r}), 'not yet'\n    return batch"
    spec = local.spec({"t": data}, plan=plan_of(source), output="again")
    failed = local.run(spec, display_name="twice", labels={"k": "v"})
    local.dataset(pa.table({"a": [7]}), data)
    sign.touch()

    again = local.stub.RetryProcessingJob(pb.RetryProcessingJobRequest(id=failed.id))

    assert (again.retry_of, again.spec, again.display_name, dict(again.labels)) == (failed.id, failed.spec, "twice", {"k": "v"})
    assert local.ended(again.id).outputs[0].row_count == 3, "it reads the version that the first one read"
    with pytest.raises(grpc.RpcError) as refused:
        local.stub.RetryProcessingJob(pb.RetryProcessingJobRequest(id=again.id))
    assert refusal_of(refused.value).reason == "JOB_NOT_RETRYABLE"


def test_logs_keep_the_newest_lines_and_say_what_is_missing(local: ServedProcessing, data: str) -> None:
    source = """
import logging, os, sys
def work(batch):
    logging.getLogger("mine").warning("warned %d", 7)
    print("no end", end="")
    logging.getLogger("mine").error("after it")
    for number in range(300):
        print("line", number)
    print("é" * 20_000)
    os.system("echo from a child")
    sys.stderr.write("nul \\0 and half \\udcff\\n")
    return batch
"""
    with processing_beside(local.mesh, local.ingestion, log_lines=40) as small:
        job = small.run(small.spec({"t": data}, plan=plan_of(source), output="logged"))
        lines = small.log(job.id)
        rest = small.log(job.id, cursor=305)
    whole = local.run(local.spec({"t": data}, plan=plan_of(source), output="logged"))
    answers = list(local.stub.TailProcessingJobLogs(pb.TailProcessingJobLogsRequest(id=whole.id)))
    told = [(line.level, line.source, line.text) for answer in answers for line in answer.lines.lines]

    assert job.state == SUCCEEDED, job
    assert "older lines are no longer kept" in lines[0]
    assert len(lines) == 41
    assert lines[-1] == "done"
    assert rest == lines[len(lines) - len(rest) :]
    assert {(3, "mine", "warned 7"), (4, "mine", "after it"), (2, "output", "no end"), (2, "output", "from a child")} <= set(told)
    (long,) = (text for _, _, text in told if text.startswith("éé"))
    assert len(long.encode()) <= 16 * 1024
    assert any(text.startswith("nul \N{SYMBOL FOR NULL} and half") for _, _, text in told)
    assert answers[-1].end.status.code == 0
    numbers = [int(text.split()[1]) for _, _, text in told if text.startswith("line ")]
    assert numbers == list(range(300))


def test_a_log_is_followed_while_it_is_written(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    sign = tmp_path / "go"
    job = begun(local, waiting(sign), data, "followed")
    heard: list[str] = []
    follower = threading.Thread(target=lambda: heard.extend(local.log(job.id)))
    follower.start()

    with processing_beside(local.mesh, local.ingestion, data_dir=local.data_dir, concurrent_jobs=1) as other:
        early = other.log(job.id, ends_at_last_line=True)
        sign.touch()
        late = other.log(job.id)
    follower.join(60)

    assert early[-1] == HERE
    assert heard == late
    assert late[-1] == "done"


def test_old_jobs_are_forgotten_with_their_logs(mesh: Mesh, tmp_path: Path) -> None:
    now = [datetime.now(UTC)]
    place = FolderPlace(tmp_path / "place")
    with served(mesh, place, retention_s=3600) as server:
        job = server.run(server.spec({"t": server.dataset(pa.table({"a": [1]}))}, "SELECT * FROM t", "out"))
        now[0] += timedelta(hours=2)
        with processing_beside(mesh, server.ingestion, data_dir=server.data_dir, retention_s=3600, clock=lambda: now[0]):
            eventually(lambda: not server.stub.ListProcessingJobs(pb.ListProcessingJobsRequest()).jobs, 30)
        with pytest.raises(grpc.RpcError) as refused:
            server.log(job.id)
    assert refusal_of(refused.value).reason == "PROCESSING_JOB_NOT_FOUND"


def test_a_server_that_stops_gives_its_jobs_to_the_next_one(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    sign = tmp_path / "go"
    with processing_beside(local.mesh, local.ingestion) as first:
        job = begun(first, waiting(sign), data, "moved")
        folder = first.data_dir
    sign.touch()
    with processing_beside(local.mesh, local.ingestion, data_dir=folder) as second:
        ended = second.ended(job.id)

    assert (ended.state, ended.attempt) == (SUCCEEDED, 1)
    assert local.versions("moved") == 1
    assert not list((folder / "processing" / "scratch").glob("pool-*"))


@contextmanager
def own_process(local: ServedProcessing, folder: Path, lease_s: int = 2) -> Iterator[tuple[subprocess.Popen[bytes], grpc.Channel]]:
    """A processing server in a process of its own, and a way to it.

    Args:
        local: What is beside it.
        folder: Its folder.
        lease_s: After how long its jobs are lost. One that a busy machine stops for longer loses its own.
    """
    # Each life has its own: gRPC shares what it knows of an address between channels, and long holds a dead one's against the next.
    address = f"unix:{folder}/{uuid.uuid4().hex[:8]}.sock"
    variables = {
        **os.environ,
        "MLMESH_DATA_DIR": str(folder),
        "MLMESH_PROCESSING_LISTEN": address,
        "MLMESH_USERS_ADDRESS": f"unix:{local.mesh.folder}/users.sock",
        "MLMESH_INGESTION_ADDRESS": local.ingestion.server.address,
        "MLMESH_SERVICE_KEY_FILE": str(local.mesh.key_file),
        "MLMESH_PROCESSING_ALLOWS_PYTHON_FUNCTIONS": "true",
        "MLMESH_PROCESSING_LEASE_S": str(lease_s),
    }
    process = subprocess.Popen([sys.executable, "-m", "servers.processing"], env=variables, stderr=subprocess.DEVNULL)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(60)
            yield process, bearing(channel, local.mesh)
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_leaves_no_process_and_no_job_behind(local: ServedProcessing, data: str, tmp_path: Path) -> None:
    pids, sign = tmp_path / "pids", tmp_path / "go"
    folder = local.mesh.folder / "own"
    folder.mkdir()
    source = f"""
import os, subprocess, time
def work(batch):
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open({str(pids)!r}, "a") as file:
        file.write(f"{{os.getpid()}} {{child.pid}}\\n")
    while not os.path.exists({str(sign)!r}):
        time.sleep(0.02)
    return batch
"""
    # Long enough that no life loses the job before it is killed, and each has one process of it.
    with own_process(local, folder, lease_s=10) as (process, channel):
        request = pb.CreateProcessingJobRequest(spec=local.spec({"t": data}, plan=plan_of(source), output="survived"))
        job = DataProcessingServiceStub(channel).CreateProcessingJob(request, wait_for_ready=True)
        eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), 60)
        own, below = (psutil.Process(int(pid)) for pid in pids.read_text().split())
        process.send_signal(signal.SIGKILL)
        process.wait()
        eventually(lambda: not is_alive(own), 60)
        assert is_alive(below), "the kernel kills the job's process alone"
    sign.touch()
    with own_process(local, folder, lease_s=10) as (_, channel):
        eventually(lambda: not is_alive(below), 60)
        stub = DataProcessingServiceStub(channel)
        eventually(lambda: stub.GetProcessingJob(pb.GetProcessingJobRequest(id=job.id)).state in ENDED, PATIENCE_S)
        ended = stub.GetProcessingJob(pb.GetProcessingJobRequest(id=job.id))

    assert (ended.state, ended.attempt) == (SUCCEEDED, 1), ended
    assert [change.state for change in ended.state_history] == [QUEUED, RUNNING, QUEUED, RUNNING, SUCCEEDED]
    assert "lost" in ended.state_history[2].reason
    assert local.versions("survived") == 1


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
