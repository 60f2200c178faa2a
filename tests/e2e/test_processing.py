"""Jobs of data processing, over REST as a user calls them; more is in tests/integration/processing/server."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.whole_mesh import WholeMesh

ROWS = [{"carrier": "a", "delay": 20}, {"carrier": "b", "delay": 3}, {"carrier": "a", "delay": 30}]


@pytest.fixture(scope="module")
def spec(mesh: WholeMesh) -> dict[str, Any]:
    """A job over a dataset of its own."""
    source, name = {"rows": {"rows": ROWS}}, f"delays_{uuid.uuid4().hex[:8]}"
    ingested = mesh.request("POST", "/api/v1/data/ingest", json={"dataset": name, "source": source, "wait": "30s"}).json()
    assert ingested["state"] == "JOB_STATE_SUCCEEDED", ingested
    sql = "SELECT carrier, sum(delay)::BIGINT AS delay FROM flights WHERE delay > 15 GROUP BY carrier"
    return {"inputs": [{"name": "flights", "dataset": name}], "sql": sql, "outputs": [{"dataset": f"{name}_late"}]}


def test_a_select_becomes_a_dataset_and_its_log_is_followed(mesh: WholeMesh, spec: dict[str, Any]) -> None:
    job = mesh.request("POST", "/api/v1/processing/jobs", json={"spec": spec, "labels": {"team": "a"}}).json()

    log = mesh.request("GET", f"/api/v1/processing/jobs/{job['id']}/logs", timeout=120).text

    told = [json.loads(line) for line in log.splitlines() if line]
    assert told[-1]["end"]["status"]["code"] == 0
    assert told[-2]["lines"]["lines"][-1]["text"] == "done"
    ended = mesh.request("GET", f"/api/v1/processing/jobs/{job['id']}").json()
    assert (ended["state"], ended["outputs"][0]["row_count"]) == ("JOB_STATE_SUCCEEDED", "1"), ended
    preview = mesh.request("GET", f"/api/v1/datasets/{spec['outputs'][0]['dataset']}:preview").json()
    assert preview["rows"] == [{"carrier": "a", "delay": 50}]
    listed = mesh.request("GET", "/api/v1/processing/jobs", params={"filter": 'labels.team = "a" AND state = "SUCCEEDED"'}).json()
    assert [each["id"] for each in listed["jobs"]] == [job["id"]]
    status = mesh.request("GET", "/api/v1/processing/status", params={"job_id": job["id"]}).json()
    assert (status["job"]["id"], status["engines"][0]["is_available"]) == (job["id"], True)
    again = mesh.request("POST", f"/api/v1/processing/jobs/{job['id']}:cancel", json={}).json()
    assert again["state"] == "JOB_STATE_SUCCEEDED"


def test_a_mistake_is_told_with_its_place(mesh: WholeMesh, spec: dict[str, Any]) -> None:
    wrong = {**spec, "sql": "SELECT carrier,\n  dely FROM flights"}

    for path in ("/api/v1/processing/jobs", "/api/v1/processing/jobs:explain"):
        answer = mesh.request("POST", path, json={"spec": wrong})
        (info,) = (detail for detail in answer.json()["details"] if "reason" in detail)
        assert (answer.status_code, info["reason"], info["metadata"]) == (400, "UNKNOWN_COLUMN", {"line": "2", "column": "3"})
        assert "did you mean 'delay'?" in answer.json()["message"]


def test_a_viewer_looks_and_runs_nothing(mesh: WholeMesh, spec: dict[str, Any]) -> None:
    scopes = ["processing.jobs.read", "ingestion.data.read"]
    viewer = mesh.request("POST", "/api/v1/auth/keys", json={"display_name": "viewer", "scopes": scopes}).json()["secret"]

    assert mesh.request("POST", "/api/v1/processing/jobs:explain", token=viewer, json={"spec": spec}).status_code == 200
    assert mesh.request("POST", "/api/v1/processing/jobs", token=viewer, json={"spec": spec}).status_code == 403
    permissions = mesh.request("GET", "/api/v1/permissions", params={"filter": 'name = "processing.functions.run"'}).json()
    assert permissions["permissions"][0]["methods"], permissions
