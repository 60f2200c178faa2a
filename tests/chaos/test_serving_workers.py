"""While one worker of serving dies or stops, the other answers: no caller notices, over REST and over gRPC."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2, serving_service_pb2, serving_service_pb2_grpc

from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import Iris, WholeMesh

CALLERS_OF_EACH_KIND = 16
WORKERS = ("serving", "serving-2")
PATIENCE_S = 60.0
ALL_ANSWERED = {("REST", "answered"), ("gRPC", "answered")}
PREDICTIONS = "ModelServingService/Predict"

Answers = Counter[tuple[str, str]]
"""Answers by protocol and outcome."""


def rest_caller(mesh: WholeMesh, iris: Iris, answers: Answers, stopped: threading.Event) -> None:
    body = {"instances": iris.rows[:1].tolist()}
    with httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30) as client:
        while not stopped.is_set():
            try:
                answer = client.post(f"/api/v1/models/{iris.name}/predict", json=body)
                outcome = "answered" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
            except httpx.HTTPError as error:
                outcome = repr(error)
            answers["REST", outcome] += 1


def grpc_caller(mesh: WholeMesh, iris: Iris, answers: Answers, stopped: threading.Event) -> None:
    row = tensor_pb2.Tensor(name="input", datatype=tensor_pb2.DATA_TYPE_FP32, shape=[1, 4], raw=iris.rows[:1].tobytes())
    request = serving_service_pb2.PredictRequest(model=served_model_pb2.ModelSelector(name=iris.name), inputs=[row])
    # gRPC's own retries would hide what the gateway lets through.
    with grpc.insecure_channel(mesh.target, options=[("grpc.enable_retries", 0)]) as channel:
        stub = serving_service_pb2_grpc.ModelServingServiceStub(channel)
        while not stopped.is_set():
            try:
                stub.Predict(request, metadata=mesh.bearer(), timeout=30)
                outcome = "answered"
            except grpc.RpcError as error:
                outcome = f"{error.code().name} {error.details()}"
            answers["gRPC", outcome] += 1


@contextmanager
def steady_load(mesh: WholeMesh, iris: Iris) -> Iterator[Answers]:
    """Callers of both kinds, each of which predicts as soon as it was answered."""
    answers: Answers = Counter()
    stopped = threading.Event()
    callers = [
        threading.Thread(target=caller, args=(mesh, iris, answers, stopped))
        for caller in (rest_caller, grpc_caller)
        for _ in range(CALLERS_OF_EACH_KIND)
    ]
    for caller in callers:
        caller.start()
    try:
        goes_on(answers, 50)
        yield answers
        goes_on(answers, 50)
    finally:
        stopped.set()
        for caller in callers:
            caller.join()


def goes_on(answers: Answers, count: int) -> None:
    """Waits until so many more were answered over each protocol."""
    reached = dict(answers)
    eventually(
        lambda: all(answers[kind, "answered"] >= reached.get((kind, "answered"), 0) + count for kind in ("REST", "gRPC")), PATIENCE_S
    )


def predictions_of(mesh: WholeMesh, iris: Iris, worker: str) -> float:
    """How many predictions a worker says it has answered since it was started."""
    number = str(WORKERS.index(worker) + 1)
    wanted = ("mlmesh_serving_predictions_total{", 'outcome="success"', f'model="{iris.name}"', f'worker="{number}"')
    lines = mesh.request("GET", "/api/v1/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(part in line for part in wanted))


def told(mesh: WholeMesh, answers: Answers) -> str:
    """What was answered, and what the gateway's access log has of calls that failed."""
    log = [line for line in mesh.logs("envoy").splitlines() if PREDICTIONS in line]
    failed = [line for line in log if '"status":200' not in line or ('"grpc_status":' in line and '"grpc_status":"OK"' not in line)]
    return "\n".join([str(answers), *failed])


def process(mesh: WholeMesh, worker: str) -> dict[str, Any]:
    """What the supervisor knows of a worker."""
    found: dict[str, Any] = next(one for one in mesh.state["processes"] if one["name"] == worker)
    return found


def is_healthy(mesh: WholeMesh) -> bool:
    return bool(mesh.request("GET", "/api/v1/health", token=None).json()["state"] == "HEALTH_STATE_HEALTHY")


def end(mesh: WholeMesh, iris: Iris, worker: str, signal_number: signal.Signals) -> None:
    """Ends a worker, and waits until the one that takes its place answers predictions as well."""
    before = mesh.pid(worker)
    assert before is not None
    ended_at = time.monotonic()
    os.kill(before, signal_number)
    eventually(lambda: (state := process(mesh, worker))["pid"] not in (None, before) and state["state"] == "healthy", PATIENCE_S)
    healthy_s = time.monotonic() - ended_at
    eventually(lambda: predictions_of(mesh, iris, worker) > 0, PATIENCE_S)
    eventually(lambda: is_healthy(mesh), PATIENCE_S)
    print(f"{worker}, {signal_number.name}: healthy again after {healthy_s:.1f} s, predicts after {time.monotonic() - ended_at:.1f} s")


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_no_prediction_fails_while_one_worker_after_the_other_is_ended(mesh: WholeMesh, iris: Iris, signal_number: signal.Signals) -> None:
    with steady_load(mesh, iris) as answers:
        for worker in WORKERS:
            end(mesh, iris, worker, signal_number)

    assert set(answers) == ALL_ANSWERED, told(mesh, answers)


def test_no_prediction_fails_however_often_a_worker_is_killed(mesh: WholeMesh, iris: Iris) -> None:
    with steady_load(mesh, iris) as answers:
        for worker in WORKERS * 3:
            end(mesh, iris, worker, signal.SIGKILL)

    assert set(answers) == ALL_ANSWERED, told(mesh, answers)


def test_health_tells_which_worker_is_away_and_that_the_other_serves(mesh: WholeMesh, iris: Iris) -> None:
    worker = mesh.pid("serving")
    assert worker is not None
    # Stopped, it neither answers nor is it missed by the supervisor for a while.
    os.kill(worker, signal.SIGSTOP)

    def serving() -> dict[str, str]:
        components = mesh.request("GET", "/api/v1/health", token=None).json()["components"]
        found: dict[str, str] = next(component for component in components if component["component"] == "serving")
        return found

    def is_told() -> bool:
        # Of one answer: in the next one, on a busy machine, the other worker may be late as well.
        found = serving()
        return (found["state"], found["reason"]) == ("HEALTH_STATE_DEGRADED", "worker 1: no answer within 1 s")

    try:
        eventually(is_told, PATIENCE_S)
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: is_healthy(mesh), PATIENCE_S)


def test_what_is_loaded_and_unloaded_is_so_on_every_worker(mesh: WholeMesh, iris: Iris) -> None:
    def ready_models() -> set[str]:
        lines = mesh.request("GET", "/api/v1/metrics").text.splitlines()
        return {line.rpartition(" ")[2] for line in lines if line.startswith("mlmesh_serving_ready_models{")}

    loaded = mesh.request("POST", f"/api/v1/serving/models/{iris.name}:load", json={"alias": "champion"})
    assert loaded.status_code == 200, loaded.text
    assert ready_models() == {"1.0"}
    listed = mesh.request("GET", "/api/v1/serving/models").json()["models"]
    assert [(model["name"], model["state"]) for model in listed] == [(iris.name, "SERVED_MODEL_STATE_READY")]

    unloaded = mesh.request("POST", f"/api/v1/serving/models/{iris.name}:unload", json={})
    assert unloaded.json() == {"unloaded_versions": [1]}
    assert ready_models() == {"0.0"}
    assert mesh.request("POST", f"/api/v1/serving/models/{iris.name}:unload", json={}).status_code == 404
