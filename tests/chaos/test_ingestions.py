"""What was taken in becomes rows once, whatever dies in between: the server, or the process that works with the data."""

from __future__ import annotations

import base64
import os
import random
import signal
import threading
import uuid

import httpx
import psutil

from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

CALLERS = 3
KILLS = 4
ROWS = 500
PATIENCE_S = 90.0
DATASET = "killed"


def test_every_ingestion_is_in_the_dataset_once(mesh: WholeMesh) -> None:
    rows = "".join(f"{number},{{id}}\n" for number in range(ROWS))
    answered: dict[str, str] = {}
    stopped = threading.Event()
    failures: list[str] = []
    chance = random.Random(4)

    def ingest_until_answered(client: httpx.Client) -> None:
        request_id = str(uuid.uuid4())
        file = {"data": base64.b64encode(f"row,request\n{rows.format(id=request_id)}".encode()).decode(), "name": "rows.csv"}

        def attempt() -> bool:
            try:
                answer = client.post("/api/v1/data/ingest", json={"dataset": DATASET, "source": {"file": file}, "request_id": request_id})
            except httpx.HTTPError:
                return False
            if answer.status_code == 200:
                answered[request_id] = answer.json()["id"]
            # Unavailable, or the one before is not known to have ended: the same request again.
            elif answer.status_code not in {409, 503}:
                failures.append(answer.text)
            return request_id in answered or bool(failures)

        eventually(attempt, PATIENCE_S)

    def ingest() -> None:
        with http(mesh) as client:
            while not (stopped.is_set() or failures):
                ingest_until_answered(client)

    def ended(client: httpx.Client) -> int:
        """Ingestions of which all is known."""
        return len([one for one in ingestions(client) if one["state"] == "JOB_STATE_SUCCEEDED"])

    callers = [threading.Thread(target=ingest) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    with http(mesh) as client:
        for kill in range(KILLS):
            reached = ended(client)
            eventually(lambda reached=reached: failures or ended(client) > reached + chance.randint(1, 5), PATIENCE_S)
            before = mesh.pid("control")
            assert before is not None
            workers = [child for child in psutil.Process(before).children(recursive=True) if "data_process" in " ".join(child.cmdline())]
            victim = before if kill % 2 or not workers else chance.choice(workers).pid
            os.kill(victim, signal.SIGKILL)
            if victim == before:
                eventually(lambda before=before: mesh.pid("control") not in (None, before), PATIENCE_S)
                eventually(lambda: client.get("/api/v1/datasets").status_code == 200, PATIENCE_S)
        stopped.set()
        for caller in callers:
            caller.join()
        eventually(lambda: all(is_over(one["state"]) for one in ingestions(client)), PATIENCE_S)

        assert failures == []
        known = ingestions(client)
        assert {one["id"] for one in known} >= set(answered.values())
        succeeded = [one for one in known if one["state"] == "JOB_STATE_SUCCEEDED"]
        # A data process that is killed may have run out of memory: its ingestion fails, and nothing of it is written.
        assert len(known) - len(succeeded) <= KILLS
        dataset = client.get(f"/api/v1/datasets/{DATASET}").json()
        assert int(dataset["row_count"]) == ROWS * len(succeeded)


def is_over(state: str) -> bool:
    return state in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"}


def http(mesh: WholeMesh) -> httpx.Client:
    return httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30)


def ingestions(client: httpx.Client) -> list[dict[str, str]]:
    """All ingestions into the dataset; none while the server is away."""
    try:
        answer = client.get("/api/v1/data/ingestions", params={"filter": f'dataset = "{DATASET}"', "page_size": "1000"})
    except httpx.HTTPError:
        return []
    found: list[dict[str, str]] = answer.json().get("ingestions", [])
    return found
