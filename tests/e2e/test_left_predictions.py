"""Callers that leave while their prediction is computed: the computing ends, and the model is there for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlmesh.errors import DeadlineExceeded

from tests.small_mesh import onnx_models
from tests.whole_mesh import WholeMesh, whole_mesh

ENDLESS = 2**62
NAME = "rounds"


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_SERVING_OWN_PROCESS_BYTES": "0", "MLMESH_SERVING_WORKERS": "1"}) as running:
        yield running


@pytest.fixture(scope="module")
def model(mesh: WholeMesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(onnx_models.rounds())
    with mesh.client() as client:
        client.registry.push_version(NAME, path, format="onnx", onnx_path=path.name)
    assert rounds(mesh, 1) == 1
    return NAME


def rounds(mesh: WholeMesh, count: int, timeout_s: float = 60) -> int:
    tensor = {"name": "rounds", "datatype": "INT64", "shape": [1], "data": [count]}
    answer = mesh.request("POST", f"/v2/models/{NAME}/infer", json={"inputs": [tensor]}, timeout=httpx.Timeout(60, read=timeout_s))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["outputs"][0]["data"][0])


def test_a_caller_over_rest_who_closes_the_connection_ends_the_run(mesh: WholeMesh, model: str) -> None:
    with pytest.raises(httpx.ReadTimeout):
        rounds(mesh, ENDLESS, timeout_s=1)

    assert rounds(mesh, 3) == 3


def test_a_caller_over_grpc_whose_time_is_over_ends_the_run(mesh: WholeMesh, model: str) -> None:
    with mesh.client() as client, pytest.raises(DeadlineExceeded):
        client.serving.predict(model, {"rounds": np.array([ENDLESS])}, timeout_s=1)

    assert rounds(mesh, 4) == 4
