"""A request that is repeated until it is answered has its effect once, whatever dies in between."""

from __future__ import annotations

import threading
import uuid

import httpx

from tests.chaos.victims import kill_server
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

CALLERS = 3
KILLS = 3
PATIENCE_S = 120.0


def test_creations_that_are_repeated_through_kills_make_one_version_each(mesh: WholeMesh) -> None:
    answered: dict[str, int] = {}
    stopped = threading.Event()
    failures: list[str] = []

    def create_until_answered(client: httpx.Client, model: str) -> None:
        request_id = str(uuid.uuid4())
        options = {"create_model": "true", "request_id": request_id}

        def attempt() -> bool:
            try:
                answer = client.post(f"/api/v1/models/{model}/versions", json={"description": request_id}, params=options)
            except httpx.HTTPError:
                return False
            if answer.status_code == 200:
                answered[request_id] = answer.json()["version"]
            # Unavailable, or the one before is not known to have ended: the same request again.
            elif answer.status_code not in {409, 503}:
                failures.append(answer.text)
            return request_id in answered or bool(failures)

        eventually(attempt, PATIENCE_S)

    def create(number: int) -> None:
        with httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30) as client:
            while not (stopped.is_set() or failures):
                create_until_answered(client, f"repeated-{number}")

    callers = [threading.Thread(target=create, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    for _ in range(KILLS):
        reached = len(answered)
        eventually(lambda reached=reached: len(answered) > reached + 30 or failures, PATIENCE_S)
        kill_server(mesh, PATIENCE_S)
    reached = len(answered)
    eventually(lambda: len(answered) > reached + 30 or failures, PATIENCE_S)
    stopped.set()
    for caller in callers:
        caller.join()

    assert failures == []
    with httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30) as client:
        kept: dict[str, int] = {}
        for number in range(CALLERS):
            versions = client.get(f"/api/v1/models/repeated-{number}/versions", params={"page_size": 1000}).json()["versions"]
            assert sorted(version["version"] for version in versions) == list(range(1, len(versions) + 1))
            assert len({version["description"] for version in versions}) == len(versions)
            kept |= {version["description"]: version["version"] for version in versions}
    assert kept == answered
