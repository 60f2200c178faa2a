"""Processing jobs over a real connection to a mesh that answers as it is told."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Iterator

import grpc
import mlmesh
import mlmesh.sync.processing
import pytest
from mlmesh import errors, plan
from mlmesh.patience import Patience
from mlmesh.processing_jobs import JobError, OutputResult
from mlops.processing.v1 import processing_job_pb2

from tests.integration.client.small_mesh import API_KEY, Scene, serve
from tests.integration.client.small_processing import CUT, FAILURE, ID, SmallProcessing

FLIGHTS = {"flights": "flights"}
LATE = {"late": plan.scan("flights").filter("delay > 15")}


@pytest.fixture
def processing(scene: Scene) -> SmallProcessing:
    return SmallProcessing(scene)


@pytest.fixture
def url(scene: Scene, processing: SmallProcessing) -> Iterator[str]:
    server, address = serve(scene, processing.register)
    yield address
    server.stop(None).wait()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(mlmesh.sync.processing, "pause", taken.append)
    return taken


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def a_second_passes(self) -> None:
        self.now += 1

    def a_day_passes_before_each_break(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the client's own thread: a server runs ahead of what is read of it."""
        may_pass = mlmesh.sync.processing._may_pass

        def after_a_day(error: errors.MeshError) -> bool:
            self.now += 86_400
            return may_pass(error)

        monkeypatch.setattr(mlmesh.sync.processing, "_may_pass", after_a_day)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(mlmesh.sync.processing, "monotonic", clock)
    monkeypatch.setattr(mlmesh.sync.processing, "Patience", functools.partial(Patience, clock=clock))
    return clock


class TestRunning:
    def test_a_job_is_asked_for_and_waited_for(
        self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing, pauses: list[float]
    ) -> None:
        processing.states = ["QUEUED", "RUNNING", "SUCCEEDED"]
        done = mesh.processing.run(
            inputs=FLIGHTS, outputs=LATE, engine="dask", display_name="nightly", labels={"team": "a"}, project="other", priority=7
        )
        assert (done.id, done.state, done.is_successful, done.engine) == (ID, "succeeded", True, "dask")
        assert done.outputs == (OutputResult("late", "late", 7, 0, "i-1"),)
        (request,) = scene.requests["CreateProcessingJob"]
        assert (request.project, request.display_name, dict(request.labels)) == ("other", "nightly", {"team": "a"})
        assert (request.spec.engine, request.spec.priority) == (processing_job_pb2.ENGINE_DASK, 7)
        assert [step.name for step in request.spec.plan.steps] == ["flights", "filter"]
        assert {looked.project for looked in scene.requests["GetProcessingJob"]} == {"other"}
        assert len(pauses) == 2

    def test_whoever_does_not_wait_is_answered_at_once(self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing) -> None:
        processing.states = ["QUEUED"]
        assert mesh.processing.run("SELECT 1", inputs=FLIGHTS, outputs="late", wait=False).state == "queued"
        assert scene.calls["GetProcessingJob"] == 0

    def test_a_repeat_has_the_same_request_id(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        scene.failures["CreateProcessingJob"] = [grpc.StatusCode.UNAVAILABLE]
        mesh.processing.run(inputs=FLIGHTS, outputs=LATE)
        first, second = (request.request_id for request in scene.requests["CreateProcessingJob"])
        assert first == second
        assert uuid.UUID(first)

    def test_a_failure_is_raised_with_its_reason_and_the_job(
        self, mesh: mlmesh.Mesh, processing: SmallProcessing, pauses: list[float]
    ) -> None:
        processing.states = ["RUNNING", "FAILED"]
        with pytest.raises(errors.ProcessingFailed, match="failed: step 'doubled': KeyError") as raised:
            mesh.processing.run(inputs=FLIGHTS, outputs=LATE)
        assert raised.value.reason == "FUNCTION_FAILED"
        assert raised.value.job.error == JobError("INVALID_ARGUMENT", "FUNCTION_FAILED", "step 'doubled': KeyError: [id]")

    def test_a_cancelled_one_is_not_taken_for_a_successful_one(self, mesh: mlmesh.Mesh, processing: SmallProcessing) -> None:
        processing.states = ["CANCELLED"]
        with pytest.raises(errors.ProcessingFailed, match="was cancelled"):
            mesh.processing.wait_for_processing_job(ID)

    def test_whoever_runs_out_of_patience_is_told_that_it_goes_on(self, mesh: mlmesh.Mesh, processing: SmallProcessing) -> None:
        processing.states = ["RUNNING"]
        with pytest.raises(errors.ProcessingUnfinished, match=f"{ID} is still running; it goes on") as raised:
            mesh.processing.wait_for_processing_job(ID, timeout_s=0.15)
        assert raised.value.job.id == ID

    def test_a_mesh_that_goes_away_meanwhile_leaves_the_name_of_the_job(
        self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing, pauses: list[float]
    ) -> None:
        processing.states = ["RUNNING"]
        scene.failures["GetProcessingJob"] = [grpc.StatusCode.INTERNAL]
        with pytest.raises(errors.Internal) as raised:
            mesh.processing.run(inputs=FLIGHTS, outputs=LATE)
        assert raised.value.metadata["job_id"] == ID

    def test_what_can_be_told_here_is_not_sent(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        with pytest.raises(errors.InvalidArgument, match="scans 'flights'"):
            mesh.processing.run(inputs={"flight": "flights"}, outputs=LATE)
        assert scene.calls["CreateProcessingJob"] == 0


class TestLogs:
    def read(self, mesh: mlmesh.Mesh, *, timeout_s: float = 60.0) -> list[str]:
        return [line.text for line in mesh.processing.tail_processing_job_logs(ID, timeout_s=timeout_s)]

    def test_a_line_has_when_how_and_where(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        line = next(iter(mesh.processing.tail_processing_job_logs(ID, follow=False, project="other")))
        assert (line.time.isoformat(), line.level, line.source, line.text) == ("2026-11-27T12:00:00+00:00", "warning", "worker-0", "line 0")
        (request,) = scene.requests["TailProcessingJobLogs"]
        assert (request.ends_at_last_line, request.project) == (True, "other")

    def test_a_log_that_breaks_off_is_gone_on_with(
        self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing, pauses: list[float]
    ) -> None:
        processing.connections = [(2, CUT), (1, CUT), (0, "silence"), (2, CUT)]
        assert self.read(mesh) == processing.lines
        # gRPC itself repeats what failed before it answered.
        assert [request.cursor for request in scene.requests["TailProcessingJobLogs"]] == [0, 2, 3, 3, 5]
        assert not any(request.ends_at_last_line for request in scene.requests["TailProcessingJobLogs"])

    def test_a_token_that_is_over_is_renewed(
        self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing, pauses: list[float]
    ) -> None:
        processing.connections = [(2, CUT)]
        lines = iter(mesh.processing.tail_processing_job_logs(ID))
        next(lines)
        scene.valid_tokens.clear()
        assert [line.text for line in lines] == processing.lines[1:]

    def test_an_error_of_the_mesh_is_raised(self, mesh: mlmesh.Mesh, processing: SmallProcessing, pauses: list[float]) -> None:
        processing.connections = [(1, FAILURE)]
        with pytest.raises(errors.InvalidArgument, match="KeyError"):
            self.read(mesh)
        assert pauses == []

    def test_a_log_that_was_silent_for_long_is_gone_on_with(
        self,
        mesh: mlmesh.Mesh,
        scene: Scene,
        processing: SmallProcessing,
        pauses: list[float],
        clock: Clock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        processing.connections = [(1, CUT), (2, CUT), (1, CUT)]
        clock.a_day_passes_before_each_break(monkeypatch)
        assert self.read(mesh) == processing.lines
        assert scene.calls["GetProcessingJob"] == 3

    def test_a_job_that_is_gone_meanwhile_ends_the_log(
        self, mesh: mlmesh.Mesh, processing: SmallProcessing, pauses: list[float], clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        processing.connections = [(1, CUT)]
        clock.a_day_passes_before_each_break(monkeypatch)
        with pytest.raises(errors.NotFound):
            list(mesh.processing.tail_processing_job_logs(str(uuid.uuid4())))

    def test_a_mesh_that_tells_of_the_job_and_refuses_its_log_is_an_error(
        self, mesh: mlmesh.Mesh, scene: Scene, monkeypatch: pytest.MonkeyPatch, clock: Clock
    ) -> None:
        scene.failures["TailProcessingJobLogs"] = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 1000
        monkeypatch.setattr(mlmesh.sync.processing, "pause", lambda _: clock.a_second_passes())
        with pytest.raises(errors.ResourceExhausted):
            self.read(mesh)
        assert 30 < scene.calls["TailProcessingJobLogs"] < 100

    def test_a_mesh_that_stays_away_is_an_error(self, mesh: mlmesh.Mesh, scene: Scene, processing: SmallProcessing) -> None:
        processing.connections = [(1, CUT)]
        lines = iter(mesh.processing.tail_processing_job_logs(ID, timeout_s=0.3))
        assert next(lines).text == "line 0"
        scene.failures["TailProcessingJobLogs"] = [grpc.StatusCode.RESOURCE_EXHAUSTED] * 100
        with pytest.raises(errors.ResourceExhausted):
            list(lines)


class TestJobs:
    def test_lists_fetch_pages_as_they_are_needed(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert [job.id for job in mesh.processing.list_processing_jobs(filter='state = "FAILED"')] == [f"j{number}" for number in range(5)]
        assert [request.filter for request in scene.requests["ListProcessingJobs"]] == ['state = "FAILED"'] * 2

    def test_jobs_are_cancelled_and_taken_again(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert mesh.processing.cancel_processing_job(ID).state == "cancelling"
        assert mesh.processing.retry_processing_job(ID).retry_of == ID
        assert scene.requests["RetryProcessingJob"][0].request_id

    def test_one_that_is_only_checked_has_no_id(self, mesh: mlmesh.Mesh) -> None:
        spec = mlmesh.JobSpec(inputs=FLIGHTS, outputs=LATE)
        assert mesh.processing.create_processing_job(spec, validate_only=True).id == ""

    def test_an_explanation_and_the_status_are_what_the_mesh_says(self, mesh: mlmesh.Mesh) -> None:
        explained = mesh.processing.explain_processing_job(mlmesh.JobSpec(inputs=FLIGHTS, outputs=LATE))
        assert (explained.text, explained.estimated_input_rows, explained.plan["outputs"]) == ("late: [Filter]", 70, ["late"])
        assert [(step.step, step.kind, step.columns[0].type) for step in explained.steps] == [("late", "Filter", "string")]
        status = mesh.processing.get_processing_status(ID)
        assert [(one.engine, one.is_available, one.running_jobs) for one in status.engines] == [("local", True, 1), ("ray", False, 0)]
        assert (status.job.id if status.job else "", [job.id for job in status.running], status.queued) == (ID, [ID], ())
        assert mesh.processing.get_processing_status().job is None


def test_it_is_the_same_with_asyncio(url: str, processing: SmallProcessing) -> None:
    processing.states = ["QUEUED", "SUCCEEDED"]
    processing.connections = [(2, CUT)]

    async def run() -> tuple[str, list[str]]:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            done = await mesh.processing.run(inputs=FLIGHTS, outputs=LATE)
            return done.state, [line.text async for line in mesh.processing.tail_processing_job_logs(ID)]

    assert asyncio.run(run()) == ("succeeded", processing.lines)
