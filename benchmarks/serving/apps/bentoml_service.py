"""A BentoML service."""

from __future__ import annotations

import os

import bentoml
import numpy as np
from numpy.typing import NDArray
from onnx_sessions import load_models


@bentoml.service(workers=int(os.environ["BENCH_WORKERS"]), logging={"access": {"enabled": False}})
class OnnxService:
    """Serves both models, an endpoint each."""

    def __init__(self) -> None:
        self._models = load_models()

    @bentoml.api
    async def small(self, rows: np.ndarray) -> np.ndarray:
        """Predicts with `small`."""
        return self._predict("small", rows)

    @bentoml.api
    async def mid(self, rows: np.ndarray) -> np.ndarray:
        """Predicts with `mid`."""
        return self._predict("mid", rows)

    def _predict(self, model: str, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        return self._models[model].predict(rows.astype(np.float32))
