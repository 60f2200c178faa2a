"""Columns are changed once and no row is lost, whatever dies in between: the server, or the process that works with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.chaos.victims import kill, kill_server, workers_of
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

PATIENCE_S = 120.0
ROWS = 1_000_000
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


def test_a_change_is_made_once_whenever_its_server_is_killed(mesh: WholeMesh, tmp_path: Path) -> None:
    upload(mesh, tmp_path)
    names = {"row": "row", "text": "text"}
    for number in range(3):
        renamed = {old: f"{old.partition('-')[0]}-{number}" for old in names.values()}
        asked = mesh.request("POST", "/api/v1/datasets/changed/schema:change", json={"renamed_columns": renamed})
        assert asked.status_code == 200, asked.text
        identifier = asked.json()["id"]
        # At once, while it works, and when it is about to end.
        eventually(lambda number=number, asked=identifier: int(look(mesh, asked)["rows_read"]) >= number * ROWS // 4, PATIENCE_S)
        kill_server(mesh, PATIENCE_S)

        eventually(lambda identifier=identifier: look(mesh, identifier)["state"] in ENDED, PATIENCE_S)

        ended = look(mesh, identifier)
        assert ended["state"] == "JOB_STATE_SUCCEEDED", ended
        names = {old: renamed[new] for old, new in names.items()}
        assert [column["name"] for column in dataset(mesh)["columns"]] == list(names.values())
        assert int(dataset(mesh)["row_count"]) == ROWS
        schemas = mesh.request("GET", "/api/v1/datasets/changed/schemas").json()["schemas"]
        assert len(schemas) == number + 2
        assert (schemas[0]["ingestion_id"], schemas[0]["version"]) == (identifier, ended["version"])


def test_a_change_whose_process_is_killed_changes_nothing(mesh: WholeMesh, tmp_path: Path) -> None:
    upload(mesh, tmp_path)
    # A kill that comes too late finds the change made.
    for number in range(10):
        before = dataset(mesh)
        renamed = {before["columns"][0]["name"]: f"killed-{number}"}
        identifier = mesh.request("POST", "/api/v1/datasets/changed/schema:change", json={"renamed_columns": renamed}).json()["id"]
        eventually(lambda asked=identifier: look(mesh, asked)["state"] != "JOB_STATE_QUEUED", PATIENCE_S)
        for process in workers_of(mesh, "servers.ingestion.data_process"):
            kill(process)
        eventually(lambda asked=identifier: look(mesh, asked)["state"] in ENDED, PATIENCE_S)
        if look(mesh, identifier)["state"] == "JOB_STATE_FAILED":
            break
        assert dataset(mesh)["columns"][0]["name"] == f"killed-{number}"

    # Whoever is killed may have run out of memory, so it is not tried again.
    assert look(mesh, identifier)["state"] == "JOB_STATE_FAILED"
    assert dataset(mesh) == before


def dataset(mesh: WholeMesh) -> dict[str, Any]:
    answer: dict[str, Any] = mesh.request("GET", "/api/v1/datasets/changed").json()
    return answer


def upload(mesh: WholeMesh, folder: Path) -> None:
    """A dataset that takes some seconds to rewrite, in several groups of files."""
    if mesh.request("GET", "/api/v1/datasets/changed").status_code == 200:
        return
    with mesh.client() as client:
        for part in range(4):
            rows = range(part * ROWS // 4, (part + 1) * ROWS // 4)
            path = folder / f"{part}.csv"
            path.write_text("row,text\n" + "".join(f"{row},{row * 7919:032x}\n" for row in rows))
            client.ingestion.ingest_data("changed", path)


def look(mesh: WholeMesh, identifier: str) -> dict[str, Any]:
    """An ingestion as it stands; nothing is known of it while the server is away."""
    answer = mesh.request("GET", f"/api/v1/data/ingestions/{identifier}")
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {"rows_read": 0, "state": ""}
    return found
