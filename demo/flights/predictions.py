"""The same flights through every door: over REST, over gRPC, and through the model itself."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pandas as pd
from mlmesh import Mesh
from numpy.typing import NDArray

from demo.flights.dataset import CATEGORIES, INPUTS
from demo.flights.local_mesh import LocalMesh

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What one door answered.

    Args:
        probabilities: ``(rows, 2)`` float32, on time and late.
        duration_ms: How long it took, in milliseconds.
        digest: Digest of the model file that answered.
        prediction_id: Identifier of the prediction.
    """

    probabilities: Probabilities
    duration_ms: float
    digest: str = ""
    prediction_id: str = ""


def predict_over_rest(mesh: LocalMesh, model: str, flights: pd.DataFrame) -> Answer:
    """Posts flights as JSON, as `curl` would."""
    started = time.perf_counter()
    response = httpx.post(
        f"{mesh.url}/api/v1/models/{model}/predict",
        params={"alias": "champion"},
        headers={"Authorization": f"Bearer {mesh.token}", "Content-Type": "application/json"},
        # pandas writes a missing measure as null, which is how JSON says it.
        content=json.dumps({"instances": json.loads(flights.to_json(orient="records", double_precision=15))}),
        timeout=60,
    )
    response.raise_for_status()
    duration_ms = (time.perf_counter() - started) * 1000
    body: dict[str, Any] = response.json()
    probabilities = np.array([row["probabilities"] for row in body["predictions"]], np.float32)
    return Answer(probabilities, duration_ms, body["model"]["digest"], body["prediction_id"])


def predict_over_grpc(client: Mesh, model: str, flights: pd.DataFrame) -> Answer:
    """Sends flights as tensors."""
    started = time.perf_counter()
    prediction = client.serving.predict(model, flights, alias="champion")
    duration_ms = (time.perf_counter() - started) * 1000
    return Answer(prediction["probabilities"], duration_ms, prediction.model.digest, prediction.prediction_id)


def predict_in_process(model_file: Path, flights: pd.DataFrame) -> Answer:
    """Runs the registered ONNX file in this process, without any server."""
    options = onnxruntime.SessionOptions()
    # As serving runs it: with more threads the trees are summed in another order, and the last bit differs.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_file, options)
    columns = {name: flights[[name]].to_numpy(dtype=object if name in CATEGORIES else np.float32) for name in INPUTS}
    started = time.perf_counter()
    (probabilities,) = session.run(["probabilities"], columns)
    return Answer(probabilities, (time.perf_counter() - started) * 1000)
