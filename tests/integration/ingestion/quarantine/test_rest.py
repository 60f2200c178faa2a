"""The quarantine through a whole mesh: over REST, with the Python client, and on the command line."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import mlmesh
import pytest
from mlmesh import SchemaContract, errors

from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh

ROWS_OUT = SchemaContract(columns="discard_row", types="discard_row")


@pytest.fixture(scope="module")
def running() -> Iterator[WholeMesh]:
    with whole_mesh() as running:
        yield running


@pytest.fixture
def http(running: WholeMesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{running.url}/api/v1", headers={"Authorization": f"Bearer {running.token}"}, timeout=60) as client:
        yield client


@pytest.fixture
def mesh(running: WholeMesh) -> Iterator[mlmesh.Mesh]:
    with mlmesh.connect(running.url, token=running.token) as mesh:
        yield mesh


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ingest(http: httpx.Client, dataset: str, text: str, **more: Any) -> dict[str, Any]:
    file = {"name": "rows.csv", "data": base64.b64encode(text.encode()).decode()}
    return post(http, "/data/ingest", {"dataset": dataset, "wait": "30s", "source": {"file": file}, **more})


def test_over_rest(http: httpx.Client) -> None:
    ingest(http, "rest", "id,delay\n1,5\n")
    discard = {"types": "CONTRACT_MODE_DISCARD_ROW"}
    assert ingest(http, "rest", "id,delay\n2,x\n3,7\n4,y\n", schema_contract=discard)["rows_quarantined"] == "2"

    parameters = {"filter": 'reason = "VALUE_DOES_NOT_FIT" AND column = "delay"', "order_by": "quarantine_time", "page_size": "1"}
    page = http.get("/datasets/rest/quarantine", params=parameters).json()
    assert page["rows"][0]["data"] == {"id": 2, "delay": "x"}
    following = http.get("/datasets/rest/quarantine", params={**parameters, "page_token": page["next_page_token"]}).json()
    assert [row["value"] for row in following["rows"]] == ["y"]
    assert following["next_page_token"] == ""

    repairs = [{"id": page["rows"][0]["id"], "values": {"delay": 6}}]
    done = post(http, "/datasets/rest/quarantine:replay", {"repairs": repairs, "wait": "30s"})
    assert (done["state"], done["rows_added"], done["rows_quarantined"]) == ("JOB_STATE_SUCCEEDED", "1", "0")
    rows = http.get("/datasets/rest:preview").json()["rows"]
    assert sorted((row["id"], row["delay"]) for row in rows) == [(1, 5), (2, 6), (3, 7)]

    assert post(http, "/datasets/rest/quarantine:discard", {"ids": [following["rows"][0]["id"]]}) == {"removed_row_count": "1"}
    assert http.get("/datasets/rest/quarantine").json()["rows"] == []
    answer = http.post("/datasets/rest/quarantine:replay", json={"ids": ["gone"]})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "QUARANTINED_ROWS_NOT_FOUND")


def test_with_the_client(mesh: mlmesh.Mesh) -> None:
    mesh.ingestion.ingest_data("python", [{"id": 1, "delay": 5}])
    left_out = mesh.ingestion.ingest_data("python", [{"id": 2, "delay": "x"}, {"id": 3, "delay": "y"}], schema_contract=ROWS_OUT)
    assert left_out.rows_quarantined == 2
    first, second = mesh.quarantine.list_quarantined_rows("python", filter=f'ingestion_id = "{left_out.id}"', page_size=1)
    assert (first.data, first.reason, second.row) == ({"id": 2, "delay": "x"}, "VALUE_DOES_NOT_FIT", 2)

    done = mesh.quarantine.replay_quarantined_rows("python", repairs={first.id: {"delay": 7}, second.id: {"delay": "late"}})
    assert (done.source, done.rows_added, done.rows_quarantined) == ("quarantine of python", 1, 1)
    begun = mesh.quarantine.replay_quarantined_rows("python", ids=[second.id], wait=False)
    # Otherwise it might leave the row out once more after it was discarded.
    assert mesh.ingestion.wait_for_ingestion(begun.id).rows_added == 0
    assert [row.id for row in mesh.quarantine.list_quarantined_rows("python")] == [second.id]
    with pytest.raises(errors.InvalidArgument, match="price"):
        mesh.quarantine.replay_quarantined_rows("python", repairs={second.id: {"price": 2**60}})
    with pytest.raises(errors.NotFound, match=r"has no rows nobody;"):
        mesh.quarantine.replay_quarantined_rows("python", ids=["nobody"])
    with pytest.raises(errors.IngestionFailed):
        mesh.quarantine.replay_quarantined_rows("python", ids=[second.id], schema_contract=SchemaContract(types="freeze"))
    assert mesh.quarantine.discard_quarantined_rows("python", filter='column = "delay"') == 1
    assert mesh.quarantine.discard_quarantined_rows("python") == 0


def test_on_the_command_line(mesh: mlmesh.Mesh, running: WholeMesh) -> None:
    mesh.ingestion.ingest_data("cli", [{"id": 1, "delay": 5}])
    mesh.ingestion.ingest_data("cli", [{"id": 2, "delay": "x"}, {"id": 3, "delay": "y"}], schema_contract=ROWS_OUT)

    def command(*arguments: str) -> str:
        done = run_mlmesh("datasets", "quarantine", *arguments, "--data-dir", str(running.data_dir), environment={"COLUMNS": "200"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "VALUE_DOES_NOT_FIT" in command("list", "cli")
    rows = json.loads(command("list", "cli", "--json"))
    assert "1 rows added" in command("replay", "cli", "--repair", f'{rows[0]["id"]}={{"delay": 1}}')
    assert "removed 1 rows" in command("discard", "cli", "--filter", 'column = "delay"', "--yes")
    assert "no rows in quarantine" in command("list", "cli")
    wrong = run_mlmesh("datasets", "quarantine", "replay", "cli", "--repair", "nonsense", "--data-dir", str(running.data_dir))
    assert (wrong.returncode, "is no repair" in wrong.stderr) == (2, True)
