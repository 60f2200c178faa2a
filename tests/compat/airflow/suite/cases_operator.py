"""The operator in runs of real DAGs, with the worker waiting and with the triggerer waiting."""

from __future__ import annotations

import json
from pathlib import Path

import mlmesh
import pytest
from dag_runs import run
from given import API_KEY, LANDING

FLIGHTS = "id,carrier\n1,UA\n2,AA\n3,UA\n"
RAGGED = "a,b\n1,2\n3,4,5\n"

both_kinds = pytest.mark.parametrize("kind", ["waiting", "deferring"])


def rows_in(mesh: mlmesh.Mesh, dataset: str) -> int:
    return mesh.ingestion.get_dataset(dataset).row_count


@both_kinds
def test_it_waits_and_returns_plain_json(kind: str, mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run(f"{kind}_operator", dataset=dataset, source=[{"id": 1}, {"id": 2}])

    outcome = ended.values["take_in"]
    ingestion = mesh.ingestion.get_ingestion(outcome["ingestion_id"])
    assert ended.states == {"take_in": "success", "tell": "success"}
    assert outcome == json.loads(json.dumps(outcome))
    assert (outcome["state"], outcome["version"], outcome["rows_added"]) == ("succeeded", ingestion.version, 2)
    assert ended.values["tell"] == 2


@both_kinds
def test_a_file_on_the_worker_is_taken_in_as_it_is_said_to_be_read(kind: str, mesh: mlmesh.Mesh, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "flights.csv").write_text("id;zip\n1;01234\n")

    ended = run(
        f"{kind}_operator",
        dataset=dataset,
        source=str(tmp_path / "flights.csv"),
        read={"delimiter": ";", "column_types": {"zip": "string"}},
    )

    assert ended.values["take_in"]["rows_added"] == 1
    assert [(column.name, column.type) for column in mesh.ingestion.get_dataset(dataset).columns] == [("id", "int64"), ("zip", "string")]


@both_kinds
def test_a_file_of_the_mesh_is_named_by_its_uri(kind: str, dataset: str) -> None:
    (LANDING / f"{dataset}.csv").write_text(FLIGHTS)

    ended = run(f"{kind}_operator", dataset=dataset, source=(LANDING / f"{dataset}.csv").as_uri())

    assert ended.values["take_in"]["rows_added"] == 3


def test_rows_replace_those_of_their_keys(mesh: mlmesh.Mesh, dataset: str) -> None:
    mesh.ingestion.ingest_data(dataset, [{"id": 1, "delay": 1.5}, {"id": 2, "delay": 2.5}])

    ended = run("waiting_operator", dataset=dataset, source=[{"id": 2, "delay": 7.0}, {"id": 3, "delay": 0.5}], mode="upsert", keys=["id"])

    outcome = ended.values["take_in"]
    assert (outcome["rows_added"], outcome["rows_updated"]) == (1, 1)
    assert rows_in(mesh, dataset) == 3


@both_kinds
def test_an_ingestion_that_fails_fails_the_task_and_says_why(
    kind: str, dataset: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ragged.csv").write_text(RAGGED)

    ended = run(f"{kind}_operator", dataset=dataset, source=str(tmp_path / "ragged.csv"))

    assert ended.states["take_in"] == "failed"
    printed = "".join(capfd.readouterr())
    assert "AirflowException" in printed
    assert "[RAGGED_ROW]" in printed


@both_kinds
def test_a_refused_request_fails_the_task_and_says_why(kind: str, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    ended = run(f"{kind}_operator", dataset=dataset, source="file:///etc/passwd")

    assert ended.states["take_in"] == "failed"
    assert "[SOURCE_NOT_ALLOWED]" in "".join(capfd.readouterr())


def test_a_frozen_contract_holds(mesh: mlmesh.Mesh, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    mesh.ingestion.ingest_data(dataset, [{"id": 1}])

    ended = run("waiting_operator", dataset=dataset, source=[{"id": 2, "gate": "B7"}], schema_contract={"columns": "freeze"})

    assert ended.states["take_in"] == "failed"
    assert "[SCHEMA_FROZEN]" in "".join(capfd.readouterr())


def test_a_gate_holds(dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    suite = {"name": "gate", "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "id", "min_value": 2}}]}
    rows = [{"id": 1}, {"id": 2}, {"id": 3}]

    refused = run("waiting_operator", dataset=dataset, source=rows, gate={"suite": suite})
    sieved = run("waiting_operator", dataset=dataset, source=rows, gate={"suite": suite, "mode": "discard_row"})

    assert refused.states["take_in"] == "failed"
    assert "[EXPECTATIONS_NOT_MET]" in "".join(capfd.readouterr())
    assert (sieved.values["take_in"]["rows_added"], sieved.values["take_in"]["rows_rejected"]) == (2, 1)


def test_a_retry_after_a_crash_finds_the_ingestion_of_the_try_before(mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run("crash", dataset=dataset, source=[{"id": 1}, {"id": 2}])

    assert (ended.states["take_in"], ended.tries["take_in"]) == ("success", 2)
    assert rows_in(mesh, dataset) == 2
    ingestions = mesh.ingestion.list_ingestions(filter=f'dataset = "{dataset}"').to_list(10)
    assert [ingestion.id for ingestion in ingestions] == [ended.values["take_in"]["ingestion_id"]]


@both_kinds
def test_a_retry_after_a_failure_tries_anew(kind: str, mesh: mlmesh.Mesh, dataset: str, tmp_path: Path) -> None:
    (tmp_path / "ragged.csv").write_text(RAGGED)

    ended = run(f"{kind}_retry", dataset=dataset, source=str(tmp_path / "ragged.csv"))

    assert (ended.states["take_in"], ended.tries["take_in"]) == ("failed", 2)
    ingestions = mesh.ingestion.list_ingestions(filter=f'dataset = "{dataset}"').to_list(10)
    assert [ingestion.state for ingestion in ingestions] == ["failed", "failed"]


def test_mapped_tasks_are_apart(mesh: mlmesh.Mesh, dataset: str) -> None:
    ended = run("mapped", dataset=dataset)

    assert len({ended.values[f"take_in[{index}]"]["ingestion_id"] for index in range(3)}) == 3
    assert rows_in(mesh, dataset) == 3


@both_kinds
def test_the_key_is_in_no_log(kind: str, dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    run(f"{kind}_operator", dataset=dataset, source=[{"id": 1}])
    run(f"{kind}_operator", dataset="no such dataset", source=[{"id": 1}])

    printed = "".join(capfd.readouterr())
    assert "succeeded" in printed
    assert API_KEY not in printed
