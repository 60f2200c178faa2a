"""ONNX sessions for every peer, with the same options. Runs in the peers' venvs: needs NumPy and ONNX Runtime, and nothing of ours."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class OnnxModel:
    """One model.

    Args:
        path: Its ONNX file.
    """

    def __init__(self, path: Path | str) -> None:
        options = onnxruntime.SessionOptions()
        # More threads make models of this size slower, and idle ones spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predicts ``(rows, features) float32`` → ``(rows, outputs) float32``."""
        (predicted,) = self._session.run(None, {"x": rows})
        return predicted


def load_models() -> dict[str, OnnxModel]:
    """Loads every model of the folder that `BENCH_MODELS` names."""
    return {path.stem: OnnxModel(path) for path in sorted(Path(os.environ["BENCH_MODELS"]).glob("*.onnx"))}
