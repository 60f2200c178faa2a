"""New versions come and the alias moves on while predictions are made: every answer is right for the version that it names."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.integration.runtime.waiting import eventually
from tests.small_mesh import onnx_models
from tests.whole_mesh import WholeMesh

NAME, ALIAS = "updated", "live"
VERSIONS = 6
CALLERS = 8
PATIENCE_S = 180.0


def times(factor: int) -> bytes:
    """`y = x * factor`."""
    value = onnx_models.value
    constant = numpy_helper.from_array(np.array([factor], "f4"), "factor")
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    shape = ("N", 1)
    made = onnx_models.model(nodes, [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)], [constant])
    return bytes(made.SerializeToString())


def test_an_alias_moves_through_versions_under_load_and_no_prediction_fails(mesh: WholeMesh, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    answered_by: Counter[int] = Counter()
    stopped = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30) as client:
            while not stopped.is_set():
                answer = client.post(f"/api/v1/models/{NAME}/predict", params={"alias": ALIAS}, json={"instances": [[2.0]]})
                if answer.status_code != 200:
                    outcomes[answer.text] += 1
                    continue
                version = answer.json()["model"]["version"]
                is_right = answer.json()["predictions"] == [[2.0 * version]]
                outcomes["right" if is_right else f"version {version} answered {answer.text}"] += 1
                answered_by[version] += 1

    def publish(version: int) -> None:
        path = tmp_path / f"{version}.onnx"
        path.write_bytes(times(version))
        with mesh.client() as client:
            assert client.registry.push_version(NAME, path, format="onnx", onnx_path=path.name).version == version
            client.registry.set_alias(NAME, alias=ALIAS, version=version)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    publish(1)
    for caller in callers:
        caller.start()
    try:
        for version in range(1, VERSIONS + 1):
            if version > 1:
                publish(version)
            eventually(lambda: answered_by[version] > 2 * CALLERS, PATIENCE_S)  # noqa: B023 - called before the next round
    finally:
        stopped.set()
        for caller in callers:
            caller.join()

    assert set(outcomes) == {"right"}, outcomes
    assert set(answered_by) == set(range(1, VERSIONS + 1))
