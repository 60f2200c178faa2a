"""The commands about processing, over a real connection to a mesh that answers as it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import mlmesh.sync.processing
import pytest
from mlmesh.cli.app import app, run
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import processing_job_pb2
from typer.testing import CliRunner, Result

from tests.integration.client.small_mesh import API_KEY, Scene, serve
from tests.integration.client.small_processing import ID, SmallProcessing

SPEC = {
    "inputs": [{"name": "flights", "dataset": "flights"}],
    "sql": "SELECT * FROM flights",
    "outputs": [{"dataset": "late", "mode": "WRITE_MODE_APPEND"}],
}
JOB = ("processing", "run", "--input", "flights", "--output", "late")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def processing(scene: Scene) -> SmallProcessing:
    return SmallProcessing(scene)


@pytest.fixture(autouse=True)
def mesh_of_the_environment(scene: Scene, processing: SmallProcessing, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server, address = serve(scene, processing.register)
    monkeypatch.setenv("MLMESH_URL", address)
    monkeypatch.setenv("MLMESH_API_KEY", API_KEY)
    # Tables are as wide as the terminal.
    monkeypatch.setenv("COLUMNS", "200")
    yield
    server.stop(None).wait()


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def shown(*arguments: str, stdin: str | None = None) -> str:
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def sent(scene: Scene) -> processing_job_pb2.JobSpec:
    (request,) = scene.requests["CreateProcessingJob"]
    spec: processing_job_pb2.JobSpec = request.spec
    return spec


class TestRun:
    def test_a_select_is_run_as_the_options_say(self, scene: Scene) -> None:
        said = shown(
            *(
                "processing",
                "run",
                "--sql",
                "SELECT * FROM f",
                "--input",
                "f=flights@3",
                "--input",
                "weather-daily@0",
                "--input",
                "airports",
            ),
            *("--output", "late", "--mode", "upsert", "--key", "id", "--key", "day", "--engine", "dask", "--memory-mib", "512"),
            *("--name", "nightly", "--label", "team=a", "--label", "why=a=b"),
        )
        assert said == "late version 0: 7 rows\n"
        (request,) = scene.requests["CreateProcessingJob"]
        assert (request.display_name, dict(request.labels)) == ("nightly", {"team": "a", "why": "a=b"})
        spec = sent(scene)
        read = [(one.name, one.dataset, one.version if one.HasField("version") else None) for one in spec.inputs]
        assert read == [("f", "flights", 3), ("weather-daily", "weather-daily", 0), ("airports", "airports", None)]
        (written,) = spec.outputs
        assert (written.dataset, written.mode, list(written.keys)) == ("late", ingestion_pb2.WRITE_MODE_UPSERT, ["id", "day"])
        assert (spec.sql, spec.engine, spec.resources.memory_mib) == ("SELECT * FROM f", processing_job_pb2.ENGINE_DASK, 512)

    def test_a_select_is_read_from_a_file_or_standard_input(self, scene: Scene, tmp_path: Path) -> None:
        (tmp_path / "late.sql").write_text("SELECT 1")
        shown(*JOB, "--sql", str(tmp_path / "late.sql"))
        shown(*JOB, "--sql", "-", stdin="SELECT 2")
        assert [request.spec.sql for request in scene.requests["CreateProcessingJob"]] == ["SELECT 1", "SELECT 2"]

    @pytest.mark.parametrize("name", ["job.json", "job.yaml"])
    def test_a_whole_job_is_read_from_a_file(self, name: str, scene: Scene, tmp_path: Path) -> None:
        text = (
            "inputs: [{name: flights, dataset: flights}]\nsql: SELECT * FROM flights\noutputs: [{dataset: late, mode: WRITE_MODE_APPEND}]\n"
        )
        (tmp_path / name).write_text(json.dumps(SPEC) if name == "job.json" else text)
        shown("processing", "run", "--spec", str(tmp_path / name))
        assert (sent(scene).sql, sent(scene).outputs[0].mode) == (SPEC["sql"], ingestion_pb2.WRITE_MODE_APPEND)

    def test_what_a_job_was_is_a_file_of_a_job(self, scene: Scene, tmp_path: Path) -> None:
        done = json.loads(shown(*JOB, "--sql", "SELECT 1 AS a", "--json"))
        assert (done["id"], done["state"], done["create_time"], done["outputs"][0]["version"]) == (
            ID,
            "succeeded",
            "2026-11-27T12:00:00Z",
            0,
        )
        (tmp_path / "again.json").write_text(json.dumps(done["spec"]))
        shown("processing", "run", "--spec", str(tmp_path / "again.json"))
        first, second = scene.requests["CreateProcessingJob"]
        assert first.spec == second.spec

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "give --sql, --input and --output, or --spec"),
            (["--sql", "SELECT 1", "--input", "a"], "give --sql, --input and --output, or --spec"),
            (["--sql", "nothing.sql", "--input", "a", "--output", "b"], "nothing.sql cannot be read"),
            (["--sql", "SELECT 1", "--input", "a=b@newest", "--output", "b"], "is not [NAME=]DATASET[@VERSION]"),
            (["--sql", "SELECT 1", "--input", "=b", "--output", "b"], "is not [NAME=]DATASET[@VERSION]"),
            (["--spec", "{spec}", "--engine", "ray"], "it has the whole job"),
            (["--spec", "{list}"], "has no spec:"),
            (["--spec", "{broken}"], "cannot be read"),
            (["--spec", "{spec}", "--label", "team"], "is not KEY=VALUE"),
        ],
    )
    def test_a_wrong_command_is_refused(self, arguments: list[str], said: str, scene: Scene, tmp_path: Path) -> None:
        for name, text in (("spec.json", json.dumps(SPEC)), ("list.json", "[]"), ("broken.yaml", "a: [")):
            (tmp_path / name).write_text(text)
        files = {"{spec}": "spec.json", "{list}": "list.json", "{broken}": "broken.yaml"}
        result = invoke("processing", "run", *(str(tmp_path / files[one]) if one in files else one for one in arguments))
        assert result.exit_code == 2, result.output
        assert "".join(said.split()) in "".join(result.stderr.replace("│", "").split())
        assert scene.calls["CreateProcessingJob"] == 0

    def test_a_failure_is_an_error_with_the_reason_in_words(
        self, processing: SmallProcessing, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        processing.states = ["QUEUED", "FAILED"]
        monkeypatch.setattr(sys, "argv", ["mlmesh", *JOB, "--sql", "SELECT 1"])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 1
        # Text of a server is never taken for markup.
        assert "failed: step 'doubled': KeyError: [id]" in " ".join(capsys.readouterr().err.split())

    def test_a_failure_has_a_form_for_programs(self, processing: SmallProcessing) -> None:
        processing.states = ["FAILED"]
        result = invoke(*JOB, "--sql", "SELECT 1", "--json")
        assert (result.exit_code, json.loads(result.stdout)["error"]["reason"]) == (1, "FUNCTION_FAILED")

    def test_an_interrupt_stops_the_waiting_and_nothing_else(
        self, scene: Scene, processing: SmallProcessing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        processing.states = ["RUNNING"]

        def interrupted(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(mlmesh.sync.processing, "pause", interrupted)
        result = invoke(*JOB, "--sql", "SELECT 1")
        assert result.exit_code == 130
        assert f"goes on: `mlmesh processing show {ID}`" in result.stderr
        assert scene.calls["CancelProcessingJob"] == 0

    def test_whoever_does_not_wait_is_told_where_it_stands(self, processing: SmallProcessing) -> None:
        processing.states = ["QUEUED"]
        assert shown(*JOB, "--sql", "SELECT 1", "--no-wait") == f"job {ID} is queued\n"

    def test_a_job_may_be_checked_alone(self, scene: Scene) -> None:
        assert "nothing was computed" in shown(*JOB, "--sql", "SELECT 1", "--validate-only")
        assert (scene.requests["CreateProcessingJob"][0].validate_only, scene.calls["GetProcessingJob"]) == (True, 0)


def test_jobs_are_listed(scene: Scene) -> None:
    said = shown("processing", "jobs", "--filter", 'state = "FAILED"', "--limit", "4")
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["j0", "j1", "j2", "j3"]
    assert scene.requests["ListProcessingJobs"][0].filter == 'state = "FAILED"'


def test_one_is_shown_with_what_went_wrong(processing: SmallProcessing) -> None:
    processing.states = ["FAILED"]
    said = shown("processing", "show", ID)
    assert "step 'doubled': KeyError: [id] (FUNCTION_FAILED)" in said
    assert "2026-11-27 12:00:00 by ada" in said


def test_a_log_is_shown_line_by_line(scene: Scene, processing: SmallProcessing) -> None:
    processing.lines = ["[bold]first[/]", "second"]
    assert shown("processing", "logs", ID).splitlines() == [
        "2026-11-27 12:00:00 WARNING worker-0   [bold]first[/]",
        "2026-11-27 12:00:00 WARNING worker-0   second",
    ]
    assert [json.loads(line)["text"] for line in shown("processing", "logs", "-f", ID, "--json").splitlines()] == processing.lines
    assert [request.ends_at_last_line for request in scene.requests["TailProcessingJobLogs"]] == [True, False]


def test_a_job_is_cancelled_and_run_again(scene: Scene) -> None:
    assert f"job {ID} is cancelling" in shown("processing", "cancel", ID)
    assert shown("processing", "retry", ID) == "late version 0: 7 rows\n"


def test_a_job_is_explained(scene: Scene) -> None:
    assert shown("processing", "explain", *JOB[2:], "--sql", "SELECT 1") == "late: [Filter]\n"
    assert json.loads(shown("processing", "explain", *JOB[2:], "--sql", "SELECT 1", "--json"))["steps"][0]["kind"] == "Filter"


def test_the_status_has_the_engines_and_what_they_do() -> None:
    said = shown("processing", "status")
    assert "install mlmesh[ray]" in said
    assert ID in said
