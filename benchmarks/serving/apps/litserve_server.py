"""A LitServe server: `python litserve_server.py PORT`, with batching where `BENCH_BATCHING` is 1."""

import os
import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray
from onnx_sessions import load_models


class OnnxApi(litserve.LitAPI):
    """Serves one model.

    Args:
        model: Its name.
        batching: Settings of LitServe's batching.
    """

    def __init__(self, model: str, **batching: float) -> None:
        super().__init__(api_path=f"/models/{model}/predict", **batching)
        self._name = model

    def setup(self, device: str) -> None:
        """Loads the model, in the worker's process."""
        del device
        self._model = load_models()[self._name]

    def decode_request(self, request) -> NDArray[np.float32]:  # With a type, LitServe would have Pydantic check the body.
        """Reads `{"instances": [[…], …]}`."""
        return np.array(request["instances"], np.float32)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predicts."""
        return self._model.predict(rows)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Writes `{"predictions": [[…], …]}`."""
        return {"predictions": output.tolist()}


class BatchingOnnxApi(OnnxApi):
    """Serves one model, many requests a run.

    Args:
        model: Its name.
    """

    def __init__(self, model: str) -> None:
        super().__init__(model, max_batch_size=64, batch_timeout=0.001)

    def batch(self, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Puts requests into one batch."""
        self._splits = np.cumsum([len(rows) for rows in inputs])[:-1]
        return np.concatenate(inputs)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Takes a batch apart."""
        return np.split(output, self._splits)


if __name__ == "__main__":
    api = BatchingOnnxApi if os.environ["BENCH_BATCHING"] == "1" else OnnxApi
    server = litserve.LitServer([api("small"), api("mid")], accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, generate_client_file=False)
