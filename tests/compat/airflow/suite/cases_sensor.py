"""The sensor in runs of real DAGs, with the worker looking and with the triggerer looking."""

from __future__ import annotations

import threading
import uuid

import mlmesh
import pytest
from dag_runs import run
from held_data import HeldData

both_kinds = pytest.mark.parametrize("kind", ["waiting", "deferring"])


@both_kinds
def test_it_waits_for_what_another_task_began(kind: str, mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run(f"{kind}_sensor", dataset=dataset, source=[{"id": 1}])

    assert ended.states == {"take_in": "success", "sense": "success"}
    assert (ended.values["sense"]["state"], ended.values["sense"]["rows_added"]) == ("succeeded", 1)
    assert ended.values["sense"]["ingestion_id"] == ended.values["take_in"]["ingestion_id"]


@both_kinds
def test_it_waits_as_long_as_it_takes(kind: str, mesh: mlmesh.Mesh, dataset: str, held: HeldData) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, [{"id": 1}], wait=False)
    threading.Timer(2.0, held.let_go).start()

    ended = run(f"{kind}_stranger", ingestion_id=ingestion.id)

    assert (ended.states["sense"], ended.values["sense"]["rows_added"]) == ("success", 1)


@both_kinds
def test_a_failed_ingestion_fails_it_and_says_why(kind: str, mesh: mlmesh.Mesh, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, b"a,b\n1,2\n3,4,5\n", name="ragged.csv", wait=False)

    ended = run(f"{kind}_stranger", ingestion_id=ingestion.id)

    assert ended.states["sense"] == "failed"
    assert "[RAGGED_ROW]" in "".join(capfd.readouterr())


@both_kinds
def test_a_cancelled_ingestion_fails_it(
    kind: str, mesh: mlmesh.Mesh, dataset: str, held: HeldData, capfd: pytest.CaptureFixture[str]
) -> None:
    ingestion = mesh.ingestion.ingest_data(dataset, [{"id": 1}], wait=False)
    mesh.ingestion.cancel_ingestion(ingestion.id)

    ended = run(f"{kind}_stranger", ingestion_id=ingestion.id)

    assert ended.states["sense"] == "failed"
    assert f"ingestion {ingestion.id} into {dataset} was cancelled" in "".join(capfd.readouterr())


@both_kinds
def test_an_unknown_ingestion_fails_it(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(f"{kind}_stranger", ingestion_id=str(uuid.uuid4()))

    assert ended.states["sense"] == "failed"
    assert "INGESTION_NOT_FOUND" in "".join(capfd.readouterr())
