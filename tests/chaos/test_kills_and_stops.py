"""What dies comes back, and what is asked to stop finishes what it accepted."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import Iris, WholeMesh

CALLERS = 4

READ = ("GET", "/api/v1/models/iris", None)
PREDICT = ("POST", "/api/v1/models/iris/predict", {"instances": [[5.1, 3.5, 1.4, 0.2]]})
DOCS = ("GET", "/docs", None)
ME = ("GET", "/api/v1/auth/me", None)


@contextmanager
def load(mesh: WholeMesh, call: tuple[str, str, object]) -> Iterator[Counter[int]]:
    """Callers that repeat a call as fast as they can; gives the answers by status, 0 for a broken connection."""
    method, path, body = call
    answers: Counter[int] = Counter()
    stopped = threading.Event()
    headers = {"Authorization": f"Bearer {mesh.token}"}

    def repeat() -> None:
        with httpx.Client(base_url=mesh.url, headers=headers, timeout=30) as client:
            while not stopped.is_set():
                try:
                    answers[client.request(method, path, json=body).status_code] += 1
                except httpx.HTTPError:
                    answers[0] += 1

    callers = [threading.Thread(target=repeat) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: answers[200] > 50)
        yield answers
    finally:
        stopped.set()
        for caller in callers:
            caller.join()


@pytest.mark.parametrize(("process", "call"), [("control", READ), ("control", ME), ("serving", PREDICT), ("gateway", DOCS)])
def test_a_server_that_is_asked_to_stop_fails_no_request_that_it_accepted(
    mesh: WholeMesh, iris: Iris, process: str, call: tuple[str, str, object]
) -> None:
    before = mesh.pid(process)
    assert before is not None
    with load(mesh, call) as answers:
        os.kill(before, signal.SIGTERM)
        eventually(lambda: mesh.pid(process) not in (None, before), timeout_s=30)
        reached = answers[200]
        eventually(lambda: answers[200] > reached + 50, timeout_s=30)
    # Between the end of one process and the start of the next the gateway may say 503: those were never accepted by a server.
    assert set(answers) <= {200, 503}, answers


@pytest.mark.parametrize(("process", "call"), [("control", READ), ("serving", PREDICT), ("gateway", DOCS), ("envoy", READ)])
def test_a_killed_process_is_started_again_without_a_pause_and_the_mesh_is_whole_again(
    mesh: WholeMesh, iris: Iris, process: str, call: tuple[str, str, object]
) -> None:
    # How long that takes depends on the machine: `python -m benchmarks.restarts` tells.
    method, path, body = call
    pid, restarts = mesh.pid(process), mesh.restarts(process)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: mesh.pid(process) not in (None, pid), timeout_s=30)

    def answers() -> bool:
        try:
            return mesh.request(method, path, json=body).status_code == 200
        except httpx.TransportError:
            return False

    def is_whole() -> bool:
        health = mesh.request("GET", "/api/v1/health", token=None).json()
        return bool(health.get("state") == "HEALTH_STATE_HEALTHY")

    eventually(answers, timeout_s=30)
    eventually(is_whole, timeout_s=30)
    assert mesh.restarts(process) == restarts + 1


def test_envoy_serves_on_while_the_control_plane_is_dead_and_while_it_comes_back(mesh: WholeMesh, iris: Iris) -> None:
    envoy, gateway = mesh.pid("envoy"), mesh.pid("gateway")
    assert gateway is not None
    with load(mesh, PREDICT) as answers:
        os.kill(gateway, signal.SIGKILL)
        eventually(lambda: mesh.pid("gateway") not in (None, gateway), timeout_s=30)
        reached = answers[200]
        eventually(lambda: answers[200] > reached + 200, timeout_s=30)
    assert set(answers) == {200}, answers
    assert mesh.pid("envoy") == envoy


def test_a_killed_supervisor_leaves_nothing_behind(mesh: WholeMesh) -> None:
    # Last in this file: it ends the mesh.
    processes = mesh.processes()
    os.kill(processes[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive
