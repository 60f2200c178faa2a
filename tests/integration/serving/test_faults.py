"""What must not fail a prediction: other models coming and going, a registry that is away, a server that stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mlops.serving.v1 import serving_service_pb2 as pb
from mlops.serving.v1.serving_service_pb2_grpc import ModelServingServiceStub

from servers.runtime.peers import open_channel
from tests.integration.runtime.waiting import exit_code
from tests.integration.serving.calls import details_of, json_request, predict_version, selector, tensor, until
from tests.small_mesh import onnx_models
from tests.small_mesh.identity import StaticToken
from tests.small_mesh.registry import digest_of

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Traffic:
    """Predictions from several threads, and what became of them."""

    answered: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def traffic(predict: Callable[[], object], callers: int = 4) -> Iterator[Traffic]:
    seen, stop, lock = Traffic(), threading.Event(), threading.Lock()

    def call() -> None:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                predict()
            except grpc.RpcError as error:
                with lock:
                    seen.failures.append(f"{error.code()} {error.details()}")
            else:
                with lock:
                    seen.answered += 1
                    seen.latencies_ms.append((time.perf_counter() - started) * 1000)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    until(lambda: seen.answered > 20 or bool(seen.failures), within_s=60)
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def predictor(stub: Any, model: bytes, name: str = "flights") -> Callable[[], object]:
    x = np.random.default_rng(5).normal(size=(2, 4)).astype("f4")
    request = pb.PredictRequest(model=selector(name), inputs=[tensor("x", x)])
    expected = onnx_models.run(model, {"x": x})[0].tobytes()

    def predict() -> None:
        assert stub.Predict(request).outputs[0].raw == expected

    return predict


def test_no_prediction_fails_while_another_model_is_loaded_and_unloaded(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    mesh.registry.save_onnx("large", onnx_models.large(megabytes=48))
    stub = mesh.serve()
    stub.LoadModel(pb.LoadModelRequest(model="flights"))

    with traffic(predictor(stub, model)) as seen:
        for _ in range(3):
            before = seen.answered
            stub.LoadModel(pb.LoadModelRequest(model="large"))
            stub.UnloadModel(pb.UnloadModelRequest(model="large"))
            assert seen.answered > before

    assert seen.failures == []


def test_no_prediction_fails_while_its_own_version_is_unloaded(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    stub = mesh.serve()

    with traffic(predictor(stub, model)) as seen:
        for _ in range(10):
            stub.UnloadModel(pb.UnloadModelRequest(model="flights"))
            until(lambda: bool(stub.ListServedModels(pb.ListServedModelsRequest(filter="state = READY")).models), within_s=60)

    assert seen.failures == []


def test_no_prediction_fails_while_an_alias_moves(mesh):
    for seed in (1, 2):
        mesh.registry.save_onnx("flights", onnx_models.linear(seed=seed))
    mesh.registry.aliases["default", "flights", "default"] = 1
    stub = mesh.serve(resolve_ttl_s=0.05)
    versions: set[int] = set()

    with traffic(lambda: versions.add(predict_version(stub, "flights"))) as seen:
        for target in (2, 1, 2):
            versions.clear()
            mesh.registry.aliases["default", "flights", "default"] = target
            until(lambda target=target: target in versions, within_s=60)

    assert seen.failures == []


def test_loaded_models_predict_on_without_the_registry(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    stub = mesh.serve(resolve_ttl_s=0.05)
    predict = predictor(stub, model)
    predict()
    mesh.stop_registry()

    with traffic(predict) as seen:
        until(lambda: seen.answered > 200, within_s=60)
    with pytest.raises(grpc.RpcError) as raised:
        predict_version(stub, "other")

    assert seen.failures == []
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details_of(raised.value)["ErrorInfo"].reason == "REGISTRY_UNAVAILABLE"
    assert details_of(raised.value)["RetryInfo"].retry_delay.seconds == 1


def test_a_fetched_model_loads_from_the_cache(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    stub = mesh.serve()
    for _ in range(2):
        stub.LoadModel(pb.LoadModelRequest(model="flights"))
        stub.UnloadModel(pb.UnloadModelRequest(model="flights"))

    assert mesh.registry.downloaded == [digest_of(model)]


def test_a_model_that_takes_long_to_load_keeps_no_other_waiting(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    mesh.registry.save_onnx("slow", onnx_models.linear(seed=2))
    stub = mesh.serve(worker_threads=6, max_load_waiters=2, load_wait_s=120)
    predict = predictor(stub, model)
    predict()
    go_on = threading.Event()
    mesh.registry.before_download = lambda: go_on.wait(120)
    refused: list[str] = []

    def want_slow() -> None:
        try:
            predict_version(stub, "slow")
        except grpc.RpcError as error:
            refused.append(details_of(error)["ErrorInfo"].reason)

    waiting = [threading.Thread(target=want_slow) for _ in range(12)]
    for thread in waiting:
        thread.start()
    until(lambda: len(refused) == 10, within_s=60)
    with traffic(predict) as seen:
        until(lambda: seen.answered > 100, within_s=60)
    go_on.set()
    for thread in waiting:
        thread.join(60)

    assert seen.failures == []
    assert refused == ["MODEL_LOADING"] * 10, "two waited and were answered"


@dataclass(frozen=True)
class ServingProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert exit_code(self.process, self.log) == 0, self.log.read_text()


@pytest.fixture
def start_process(mesh) -> Iterator[Callable[[], ServingProcess]]:
    """Starts `python -m servers.serving` as the supervisor does."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MLMESH_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen/python"), str(ROOT / "clients/python")]),
        "MLMESH_DATA_DIR": str(mesh.folder / "data"),
        "MLMESH_USERS_ADDRESS": f"unix:{mesh.folder}/users.sock",
        "MLMESH_REGISTRY_ADDRESS": f"unix:{mesh.folder}/registry.sock",
        "MLMESH_SERVICE_KEY_FILE": str(mesh.key_file),
        "MLMESH_SERVING_LISTEN": f"unix:{mesh.folder}/process.sock",
        "MLMESH_SERVING_TRACE_FILE": str(mesh.folder / "spans.jsonl"),
        "MLMESH_DRAIN_S": "0.2",
    }
    started: list[ServingProcess] = []

    def start() -> ServingProcess:
        log_file = mesh.folder / f"log-{len(started)}"
        with log_file.open("w") as log:
            process = subprocess.Popen([sys.executable, "-m", "servers.serving"], env=environment, cwd=mesh.folder, stderr=log)
        started.append(ServingProcess(process, log_file))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait(20)


@dataclass(frozen=True)
class PlainCaller:
    """Calls that repeat nothing, each in a trace that is recorded."""

    stub: Any
    metadata: list[tuple[str, str]]

    def predict(self, request: pb.PredictRequest) -> pb.PredictResponse:
        return self.stub.Predict(request, metadata=self.metadata)

    def predict_json(self, request: pb.PredictJsonRequest) -> Any:
        return json.loads(self.stub.PredictJson(request, metadata=self.metadata).data)


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def caller(mesh) -> Iterator[PlainCaller]:
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"unix:{mesh.folder}/process.sock", options) as channel:
        yield PlainCaller(ModelServingServiceStub(channel), [*mesh.issuer.bearer(), ("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01")])


def spans(mesh: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (mesh.folder / "spans.jsonl").read_text().splitlines()]


def answers(call: Callable[[], object]) -> bool:
    try:
        call()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def slow_prediction(mesh: Any) -> tuple[pb.PredictRequest, bytes]:
    model = onnx_models.slow(rounds=10)
    mesh.registry.save_onnx("slow", model)
    x = np.random.default_rng(0).normal(size=(8, 256)).astype("f4")
    return pb.PredictRequest(model=selector("slow"), inputs=[tensor("x", x)]), onnx_models.run(model, {"x": x})[0].tobytes()


def test_sigterm_leaves_no_prediction_unanswered_that_was_begun(mesh, start_process, caller):
    request, expected = slow_prediction(mesh)
    server = start_process()
    until(lambda: answers(lambda: caller.predict(request)), within_s=60)

    def predict() -> None:
        assert caller.predict(request).outputs[0].raw == expected

    with traffic(predict) as seen:
        server.stop()
        # The callers may have been asleep for as long as the server took to end.
        until(lambda: bool(seen.failures), within_s=60)

    runs = [span for span in spans(mesh) if span["name"] == "onnxruntime.run"]
    assert seen.answered + 1 == len(runs), "the one that found the server up, and those of the traffic"
    assert {failure.split()[0] for failure in seen.failures} == {"StatusCode.UNAVAILABLE"}, "told apart from a failed prediction"


def test_no_prediction_of_a_peer_fails_while_one_server_follows_the_other(mesh, start_process):
    request, expected = slow_prediction(mesh)
    server = start_process()
    channel = open_channel(
        f"unix:{mesh.folder}/process.sock", identity=StaticToken(mesh.issuer.token()), services=["mlops.serving.v1.ModelServingService"]
    )
    stub = ModelServingServiceStub(channel)
    until(lambda: answers(lambda: stub.Predict(request)), within_s=60)

    def predict() -> None:
        assert stub.Predict(request, wait_for_ready=True).outputs[0].raw == expected

    with traffic(predict) as seen:
        for _ in range(2):
            server.stop()
            server = start_process()
            before = seen.answered
            until(lambda before=before: seen.answered > before + 20, within_s=60)
    channel.close()

    assert seen.failures == []


def test_a_prediction_is_one_trace_from_the_caller_to_the_run_of_the_model(mesh, start_process, caller):
    mesh.registry.save_onnx("flights", onnx_models.linear())
    server = start_process()
    request = json_request({"instances": [[1, 2, 3, 4]]}, model="flights")
    until(lambda: answers(lambda: caller.predict_json(request)), within_s=60)

    prediction_id = caller.predict_json(request)["prediction_id"]
    server.stop()

    run = next(span for span in spans(mesh) if span["attributes"].get("mlmesh.prediction_id") == prediction_id)
    server = next(span for span in spans(mesh) if span["span_id"] == run["parent_span_id"])
    assert run["name"] == "onnxruntime.run"
    assert (run["attributes"]["mlmesh.model"], run["attributes"]["mlmesh.version"], run["attributes"]["mlmesh.rows"]) == ("flights", 1, 1)
    assert (server["name"], server["kind"]) == ("mlops.serving.v1.ModelServingService/PredictJson", "server")
    assert {run["trace_id"], server["trace_id"]} == {TRACE_ID}
    assert server["parent_span_id"] == "b7ad6b7169203331"
