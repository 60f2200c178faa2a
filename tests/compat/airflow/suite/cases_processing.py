"""The operator, sensor and trigger of processing jobs. What they share with those of ingestions is shown there."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import mlmesh
import pytest
from dag_runs import run
from deployment import PATIENCE_S
from mlmesh_airflow import ProcessingJobTrigger
from processing_jobs import HELD

both_kinds = pytest.mark.parametrize("kind", ["waiting", "deferring"])


@pytest.fixture
def dataset(mesh: mlmesh.Mesh, dataset: str) -> str:
    mesh.ingestion.ingest_data(dataset, [{"id": 1, "carrier": "UA"}, {"id": 2, "carrier": "AA"}])
    return dataset


@both_kinds
def test_it_waits_and_returns_plain_json(kind: str, mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run(f"{kind}_job", dataset=dataset, condition="carrier = 'AA'")

    outcome = ended.values["compute"]
    assert ended.states == {"compute": "success"}
    assert outcome == json.loads(json.dumps(outcome))
    assert (outcome["state"], outcome["engine"], outcome["display_name"]) == ("succeeded", "local", f"{kind}_job.compute")
    assert [(one["name"], one["dataset"]) for one in outcome["inputs"]] == [("rows", dataset)]
    (output,) = outcome["outputs"]
    assert (output["dataset"], output["row_count"]) == (f"{dataset}_late", 1)
    # Native objects are on in these DAGs, and an expression stays a text.
    assert mesh.ingestion.preview_dataset(f"{dataset}_late").rows == [{"id": 2, "carrier": "AA", "text": "1"}]


def test_a_select_is_rendered_and_run(mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run("select", dataset=dataset, columns="max(id) AS most")

    assert mesh.ingestion.preview_dataset(f"{dataset}_late").rows == [{"most": 2}]
    job = mesh.processing.get_processing_job(ended.values["compute"]["job_id"])
    assert (job.display_name, job.spec["resources"]["memory_mib"]) == ("a select", 512)


@both_kinds
def test_a_job_that_fails_fails_the_task_and_says_why(kind: str, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(f"{kind}_job", dataset=dataset, condition="CAST(carrier AS INTEGER) = 1")

    assert ended.states["compute"] == "failed"
    printed = "".join(capfd.readouterr())
    assert "AirflowException" in printed
    assert "Could not convert string" in printed


def test_a_refused_job_fails_the_task_and_says_why(dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run("waiting_job", dataset=dataset, condition="delay > 15")

    assert ended.states["compute"] == "failed"
    assert "[UNKNOWN_COLUMN]" in "".join(capfd.readouterr())


def test_a_retry_after_a_crash_finds_the_job_of_the_try_before(mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run("job_crash", dataset=dataset)

    assert (ended.states["compute"], ended.tries["compute"]) == ("success", 2)
    jobs = mesh.processing.list_processing_jobs(filter='display_name = "job_crash.compute"').to_list()
    assert [job.id for job in jobs] == [ended.values["compute"]["job_id"]]
    assert jobs[0].labels["run"]


@both_kinds
def test_the_sensor_waits_for_what_another_task_began(kind: str, dataset: str) -> None:
    ended = run(f"{kind}_job_sensor", dataset=dataset)

    assert ended.states == {"compute": "success", "sense": "success"}
    assert (ended.values["sense"]["state"], ended.values["sense"]["job_id"]) == ("succeeded", ended.values["compute"]["job_id"])


def test_a_kill_of_the_trigger_cancels_the_tasks_own_job(mesh: mlmesh.Mesh, dataset: str, tmp_path: Path) -> None:
    mesh.ingestion.ingest_data(dataset, [{"id": 1, "until": str(tmp_path / "never")}], mode="overwrite")
    job = mesh.processing.run(inputs={"rows": dataset}, outputs={f"{dataset}_held": HELD}, wait=False)

    asyncio.run(ProcessingJobTrigger(job_id=job.id).on_kill())
    assert mesh.processing.get_processing_job(job.id).state in {"queued", "running"}
    asyncio.run(ProcessingJobTrigger(job_id=job.id, is_owner=True).on_kill())

    with pytest.raises(mlmesh.errors.ProcessingFailed, match="was cancelled"):
        mesh.processing.wait_for_processing_job(job.id, timeout_s=PATIENCE_S)
