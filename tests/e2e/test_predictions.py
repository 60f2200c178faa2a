"""Every door gives the predictions that ONNX Runtime gives in this process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import mlmesh
import numpy as np
import pandas as pd

from tests.whole_mesh import Iris, WholeMesh, run_mlmesh


def test_rest_answers_what_the_model_answers_and_says_which_one(mesh: WholeMesh, iris: Iris) -> None:
    response = mesh.request("POST", f"/api/v1/models/{iris.name}/predict", json={"instances": iris.rows.tolist()})
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"] == {"name": iris.name, "version": 1, "digest": iris.digest}
    assert answer["prediction_id"]
    assert np.array_equal(np.array([row["probabilities"] for row in answer["predictions"]], np.float32), iris.probabilities)


def test_the_model_can_be_named_in_the_body_and_chosen_by_alias(mesh: WholeMesh, iris: Iris) -> None:
    body = {"model": iris.name, "alias": "champion", "inputs": {"input": iris.rows[:2].tolist()}}
    answer = mesh.request("POST", "/api/v1/predict", json=body).json()
    assert answer["model"]["digest"] == iris.digest


def test_the_client_answers_the_same_with_arrays_and_data_frames(mesh: WholeMesh, iris: Iris) -> None:
    with mesh.client() as client:
        for rows in (iris.rows, iris.rows.tolist(), pd.DataFrame(iris.rows)):
            prediction = client.serving.predict(iris.name, rows)
            assert np.array_equal(prediction["probabilities"], iris.probabilities)
            assert prediction.model.digest == iris.digest


def test_the_asynchronous_client_answers_the_same(mesh: WholeMesh, iris: Iris) -> None:
    async def predict() -> mlmesh.Prediction:
        async with mlmesh.connect_async(url=mesh.url, token=mesh.token) as client:
            return await client.serving.predict(iris.name, iris.rows, alias="champion")

    assert np.array_equal(asyncio.run(predict())["probabilities"], iris.probabilities)


def test_the_command_line_answers_the_same(mesh: WholeMesh, iris: Iris, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps({"instances": iris.rows.tolist()}))
    environment = {"MLMESH_URL": mesh.url, "MLMESH_TOKEN": mesh.token}
    done = run_mlmesh("predict", iris.name, "--file", str(rows), "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    predictions = json.loads(done.stdout)["predictions"]
    assert np.array_equal(np.array([row["probabilities"] for row in predictions], np.float32), iris.probabilities)


def test_a_model_loads_back_as_what_it_was(mesh: WholeMesh, iris: Iris) -> None:
    with mesh.client() as client:
        model = client.registry.load_model(iris.name)
    assert np.allclose(model.predict_proba(iris.rows), iris.probabilities, atol=1e-5)
