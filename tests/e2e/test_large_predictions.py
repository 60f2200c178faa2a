"""A prediction of 64 MB through the whole mesh, where the settings allow it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.small_mesh import onnx_models
from tests.whole_mesh import WholeMesh, whole_mesh

MIB = 1 << 20
ROWS = FEATURES = 4000
LIMIT_BYTES = str(64 * MIB)
MODEL = onnx_models.linear(features=FEATURES)


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_GATEWAY_MAX_BODY_BYTES": LIMIT_BYTES, "MLMESH_SERVING_MAX_MESSAGE_BYTES": LIMIT_BYTES}) as running:
        yield running


@pytest.fixture(scope="module")
def name(mesh: WholeMesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(MODEL)
    with mesh.client() as client:
        client.registry.push_version("wide", path, format="onnx", onnx_path=path.name)
    return "wide"


@pytest.fixture(scope="module")
def rows() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rows = np.random.default_rng(5).normal(size=(ROWS, FEATURES)).astype(np.float32)
    assert rows.nbytes == 64_000_000
    return rows


def test_64_mb_of_raw_tensor_over_grpc_are_answered_bit_by_bit(mesh: WholeMesh, name: str, rows: np.ndarray) -> None:
    (expected,) = onnx_models.run(MODEL, {"x": rows})
    with mesh.client() as client:
        prediction = client.serving.predict(name, {"x": rows})
    assert np.array_equal(prediction["y"], expected)


def test_64_mb_of_the_binary_extension_over_rest_are_answered_bit_by_bit(mesh: WholeMesh, name: str, rows: np.ndarray) -> None:
    (expected,) = onnx_models.run(MODEL, {"x": rows})
    tensor = {"name": "x", "datatype": "FP32", "shape": rows.shape, "parameters": {"binary_data_size": rows.nbytes}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    answer = mesh.request(
        "POST",
        f"/v2/models/{name}/infer",
        content=head + rows.tobytes(),
        headers={"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"},
    )
    assert answer.status_code == 200, answer.text
    binary = answer.content[int(answer.headers["inference-header-content-length"]) :]
    assert np.array_equal(np.frombuffer(binary, np.float32).reshape(expected.shape), expected)


def test_a_byte_more_than_allowed_is_refused_and_says_so(mesh: WholeMesh, name: str, rows: np.ndarray) -> None:
    head = b'{"inputs":[]}'
    body = head + bytes(int(LIMIT_BYTES) + 1 - len(head))
    answer = mesh.request("POST", f"/v2/models/{name}/infer", content=body, headers={"inference-header-content-length": str(len(head))})
    assert answer.status_code == 413
    assert answer.json()["details"][0]["reason"] == "REQUEST_TOO_LARGE"
