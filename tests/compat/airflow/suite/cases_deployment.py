"""What only a whole Airflow can show: killed tasks, lost workers, another triggerer, and what is in its logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlmesh
import pytest
from deployment import Deployment, deployed, eventually
from given import API_KEY
from held_data import HeldData

RUNNING = {"waiting": "running", "deferring": "deferred"}
kinds = pytest.mark.parametrize("kind", ["waiting", "deferring"])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    dags = [*(f"{kind}_operator" for kind in RUNNING), *(f"{kind}_held_job" for kind in RUNNING), "waiting_retry"]
    with deployed(tmp_path_factory.mktemp("deployment"), dags) as running:
        yield running


def ingestion_into(mesh: mlmesh.Mesh, dataset: str, state: str = "running") -> str:
    """Waits until there is one in that state, and returns its identifier."""

    def found() -> list[str]:
        listed = mesh.ingestion.list_ingestions(filter=f'dataset = "{dataset}"').to_list(10)
        return [ingestion.id for ingestion in listed if ingestion.state == state]

    eventually(lambda: bool(found()), lambda: f"no ingestion into {dataset} is {state}")
    (identifier,) = found()
    return identifier


@kinds
def test_ending_a_task_cancels_its_ingestion(kind: str, airflow: Deployment, mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    task = airflow.trigger(f"{kind}_operator", dataset=dataset, source=[{"id": 1}])
    identifier = ingestion_into(mesh, dataset)
    task.reach(RUNNING[kind])
    if kind == "deferring":
        # Airflow tells a trigger that runs, and no triggerer has it yet when the task is deferred.
        eventually(lambda: f"Waiting for ingestion {identifier}" in airflow.logs(), airflow.last_words)

    task.mark_failed()

    assert ingestion_into(mesh, dataset, "cancelled") == identifier
    assert task.state == "failed"


@kinds
def test_ending_a_task_cancels_its_job(kind: str, airflow: Deployment, mesh: mlmesh.Mesh, dataset: str, tmp_path: Path) -> None:
    mesh.ingestion.ingest_data(dataset, [{"id": 1, "until": str(tmp_path / "never")}])
    task = airflow.trigger(f"{kind}_held_job", dataset=dataset)

    def jobs() -> dict[str, str]:
        listed = mesh.processing.list_processing_jobs(filter=f'display_name = "{kind}_held_job.take_in"')
        return {job.state: job.id for job in listed}

    def job_in(state: str) -> str:
        eventually(lambda: [*jobs()] == [state], lambda: f"the job is {jobs()}, and not {state}\n{airflow.last_words()}")
        return jobs()[state]

    identifier = job_in("running")
    task.reach(RUNNING[kind])
    if kind == "deferring":
        eventually(lambda: f"Waiting for processing job {identifier}" in airflow.logs(), airflow.last_words)

    task.mark_failed()

    assert job_in("cancelled") == identifier
    assert task.state == "failed"


def test_a_worker_that_is_lost_is_followed_by_one_that_goes_on(
    airflow: Deployment, mesh: mlmesh.Mesh, dataset: str, held: HeldData
) -> None:
    task = airflow.trigger("waiting_retry", dataset=dataset, source=[{"id": 1}])
    identifier = ingestion_into(mesh, dataset)

    task.lose_worker()
    task.reach_try(2)
    held.let_go()
    task.reach("success")

    assert task.value["ingestion_id"] == identifier
    assert mesh.ingestion.get_dataset(dataset).row_count == 1


def test_another_triggerer_goes_on_with_the_wait(airflow: Deployment, mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    task = airflow.trigger("deferring_operator", dataset=dataset, source=[{"id": 1}])
    identifier = ingestion_into(mesh, dataset)
    eventually(lambda: f"Waiting for ingestion {identifier}" in airflow.logs(), airflow.last_words)

    airflow.kill("triggerer")
    airflow.start("triggerer")
    eventually(lambda: airflow.logs().count(f"Waiting for ingestion {identifier}") == 2, airflow.last_words)
    held.let_go()
    task.reach("success")

    assert task.tries == 1
    assert (task.value["ingestion_id"], task.value["state"]) == (identifier, "succeeded")


def test_a_cleared_task_does_its_work_anew(airflow: Deployment, mesh: mlmesh.Mesh, dataset: str) -> None:
    task = airflow.trigger("waiting_operator", dataset=dataset, source=[{"id": 1}])
    # Airflow forgets what is cleared in the moment in which its scheduler ends the run.
    task.reach_end_of_run()
    first = task.value["ingestion_id"]

    task.clear()
    task.reach_try(2)
    task.reach("success")

    assert task.value["ingestion_id"] != first
    assert mesh.ingestion.get_dataset(dataset).row_count == 2


def test_the_key_is_in_no_log(airflow: Deployment, dataset: str) -> None:
    for kind in RUNNING:
        airflow.trigger(f"{kind}_operator", dataset=dataset, source=[{"id": 1}]).reach("success")
        airflow.trigger(f"{kind}_operator", dataset="no such dataset", source=[{"id": 1}]).reach("failed")

    logs = airflow.logs()
    assert "DATASET" in logs.upper()
    assert API_KEY not in logs
