"""What was taken in becomes rows once, whatever dies in between: the server, or the process that works with the data."""

from __future__ import annotations

import base64
import random
import threading
import uuid

import httpx

from tests.chaos.victims import kill as kill_process
from tests.chaos.victims import kill_server, workers_of
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

CALLERS = 3
KILLS = 4
ROWS = 500
MOST_OPEN = 60
PATIENCE_S = 90.0
DATASET = "killed"
ALL = f'dataset = "{DATASET}"'
OPEN = f'{ALL} AND NOT (state = "SUCCEEDED" OR state = "FAILED")'


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
                # Callers may be faster than what works for them, and a project may have no more than 1,000 that have not ended.
                eventually(lambda: stopped.is_set() or failures or len(ingestions(client, OPEN)) < MOST_OPEN, PATIENCE_S)

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
            workers = workers_of(mesh, "data_process")
            if kill % 2 or not workers:
                kill_server(mesh, PATIENCE_S)
                eventually(lambda: client.get("/api/v1/datasets").status_code == 200, PATIENCE_S)
            else:
                kill_process(chance.choice(workers))
        stopped.set()
        for caller in callers:
            caller.join()
        # None are seen while the server is away.
        eventually(lambda: failures or (ingestions(client) and not ingestions(client, OPEN)), PATIENCE_S)

        assert failures == []
        known = ingestions(client)
        assert {one["id"] for one in known} >= set(answered.values())
        succeeded = [one for one in known if one["state"] == "JOB_STATE_SUCCEEDED"]
        # A data process that is killed may have run out of memory: its ingestion fails, and nothing of it is written.
        assert len(known) - len(succeeded) <= KILLS
        dataset = client.get(f"/api/v1/datasets/{DATASET}").json()
        assert int(dataset["row_count"]) == ROWS * len(succeeded)


def http(mesh: WholeMesh) -> httpx.Client:
    return httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30)


def ingestions(client: httpx.Client, condition: str = ALL) -> list[dict[str, str]]:
    """All ingestions into the dataset; none while the server is away."""
    found: list[dict[str, str]] = []
    parameters = {"filter": condition, "page_size": "1000"}
    while True:
        try:
            answer = client.get("/api/v1/data/ingestions", params=parameters)
        except httpx.HTTPError:
            return []
        if answer.status_code != 200:
            return []
        found += answer.json()["ingestions"]
        if not (token := answer.json()["next_page_token"]):
            return found
        parameters["page_token"] = token
