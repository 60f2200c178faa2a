"""Models that are served out of processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal

import grpc
import psutil
import pytest
from mlops.serving.v1 import served_model_pb2
from mlops.serving.v1 import serving_service_pb2 as pb

from tests.integration.serving.calls import details_of, until
from tests.integration.serving.test_faults import predictor, traffic
from tests.small_mesh import onnx_models


def model_pids() -> list[int]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "servers.serving.model_process" in child.cmdline():
                found.append(child.pid)
    return found


@pytest.fixture
def model(mesh) -> bytes:
    content = onnx_models.linear()
    mesh.registry.save_onnx("flights", content)
    return content


def states(stub) -> dict[str, str]:
    models = stub.ListServedModels(pb.ListServedModelsRequest()).models
    return {served.name: served_model_pb2.ServedModelState.Name(served.state) for served in models}


def test_a_model_of_the_size_set_is_served_by_a_process_of_its_own_until_it_is_unloaded(mesh, model):
    stub = mesh.serve(own_process_bytes=len(model))
    predictor(stub, model)()
    (pid,) = model_pids()

    stub.UnloadModel(pb.UnloadModelRequest(model="flights"))

    assert model_pids() == []
    assert not psutil.pid_exists(pid)


def test_a_smaller_model_is_not(mesh, model):
    stub = mesh.serve(own_process_bytes=len(model) + 1)

    predictor(stub, model)()

    assert model_pids() == []


def test_no_prediction_fails_when_the_process_is_killed(mesh, model):
    stub = mesh.serve(own_process_bytes=0)

    with traffic(predictor(stub, model)) as seen:
        for _ in range(3):
            (pid,) = model_pids()
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: len(model_pids()) == 1 and pid not in model_pids(), within_s=60)
            before = seen.answered
            until(lambda before=before: seen.answered > before + 20 or bool(seen.failures), within_s=60)

    assert seen.failures == []


def test_a_model_that_keeps_crashing_is_failed_with_the_reason_until_it_is_loaded_again(mesh, model):
    stub = mesh.serve(own_process_bytes=0)
    predict = predictor(stub, model)
    predict()

    def is_given_up() -> bool:
        for pid in model_pids():
            # It may be one that was killed in the round before and is gone only now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return "FAILED" in states(stub)["flights"]

    until(is_given_up, within_s=60)

    with pytest.raises(grpc.RpcError) as raised:
        predict()
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details_of(raised.value)["ErrorInfo"].reason == "MODEL_CRASHED"
    assert "crashed or failed 5 times, lastly because the model's process was killed by SIGKILL" in raised.value.details()
    stub.LoadModel(pb.LoadModelRequest(model="flights"))
    predict()


def test_a_server_that_stops_leaves_no_process(mesh, model):
    stub = mesh.serve(own_process_bytes=0)
    predictor(stub, model)()

    mesh.servers[-1].stop()

    assert model_pids() == []
