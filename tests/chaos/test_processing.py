"""Every job that was taken ends, and writes each of its datasets once, whatever dies: the server, or the process that computes."""

from __future__ import annotations

import random
import threading
import uuid
from typing import Any

import httpx

from tests.chaos.victims import kill as kill_process
from tests.chaos.victims import kill_server, orphans_of, workers_of
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

CALLERS = 2
KILLS = 3
PATIENCE_S = 120.0
ROWS = 300
APPEND = "WRITE_MODE_APPEND"
OPEN = 'NOT (state = "SUCCEEDED" OR state = "FAILED")'
PLAN = {
    "steps": [
        {"name": "t", "scan": {"source": "t"}},
        {"name": "pairs", "cross_join": {"left": "t", "right": "t"}},
        {"name": "sums", "aggregate": {"input": "pairs", "keys": [{"name": "a", "expression": "a"}],
                                       "aggregations": [{"name": "n", "expression": "count(*)"}]}},
        {"name": "even", "filter": {"input": "sums", "condition": "a % 2 = 0"}},
    ],
    "outputs": ["sums", "even"],
}  # fmt: skip


def test_every_job_ends_and_writes_once(mesh: WholeMesh) -> None:
    taken: dict[str, str] = {}
    stopped, failures, chance = threading.Event(), [], random.Random(7)
    with http(mesh) as client:
        rows = {"rows": {"rows": [{"a": number} for number in range(ROWS)]}}
        client.post("/api/v1/data/ingest", json={"dataset": "numbers", "source": rows, "wait": "20s"}).raise_for_status()

    def ask_until_taken(client: httpx.Client) -> None:
        request_id = str(uuid.uuid4())
        outputs = [{"step": step, "dataset": f"{step}-{request_id}", "mode": APPEND} for step in ("sums", "even")]
        spec = {"inputs": [{"name": "t", "dataset": "numbers"}], "plan": PLAN, "outputs": outputs, "max_attempts": 20}

        def attempt() -> bool:
            try:
                answer = client.post("/api/v1/processing/jobs", json={"spec": spec, "request_id": request_id})
            except httpx.HTTPError:
                return False
            if answer.status_code == 200:
                taken[request_id] = answer.json()["id"]
            # The process that was killed may have been the one that checked this very job.
            elif answer.status_code not in {409, 503} and "DATA_PROCESS_OUT_OF_MEMORY" not in answer.text:
                failures.append(answer.text)
            return request_id in taken or bool(failures)

        eventually(attempt, PATIENCE_S)

    def ask() -> None:
        with http(mesh) as client:
            while not (stopped.is_set() or failures):
                ask_until_taken(client)
                eventually(lambda: failures or len(open_jobs(client)) < 4, PATIENCE_S)

    callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    with http(mesh) as client:
        for kill in range(KILLS):
            ended = len(taken) - len(open_jobs(client))
            wanted = chance.randint(1, 2)
            eventually(lambda ended=ended, wanted=wanted: failures or len(taken) - len(open_jobs(client)) >= ended + wanted, PATIENCE_S)
            workers = workers_of(mesh, "job_process")
            if kill % 2 and workers:
                kill_process(chance.choice(workers))
            else:
                kill_server(mesh, PATIENCE_S)
                eventually(lambda: client.get("/api/v1/datasets").status_code == 200, PATIENCE_S)
        stopped.set()
        for caller in callers:
            caller.join()
        eventually(lambda: client.get("/api/v1/datasets").status_code == 200 and not open_jobs(client), PATIENCE_S)

        assert failures == []
        assert {job["id"] for job in jobs(client)} == set(taken.values())
        for job in jobs(client):
            assert job["state"] == "JOB_STATE_SUCCEEDED", job
            for output, count in zip(job["outputs"], (ROWS, ROWS // 2), strict=True):
                dataset = client.get(f"/api/v1/datasets/{output['dataset']}").json()
                assert (dataset["version"], dataset["row_count"]) == ("1", str(count)), (job, dataset)
    assert not orphans_of(mesh, "job_process")


def http(mesh: WholeMesh) -> httpx.Client:
    return httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30)


def jobs(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/v1/processing/jobs", params={"page_size": "1000"}).json()["jobs"]
    return found


def open_jobs(client: httpx.Client) -> list[dict[str, Any]]:
    """Jobs that have not ended; one that stands for all of them while the server is away."""
    try:
        answer = client.get("/api/v1/processing/jobs", params={"filter": OPEN, "page_size": "1000"})
    except httpx.HTTPError:
        return [{}]
    found: list[dict[str, Any]] = answer.json().get("jobs", [{}])
    return found
