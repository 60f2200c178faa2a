"""The ONNX models that every system serves, and what ONNX Runtime answers for them in this process."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "x", "y"


@dataclass(frozen=True)
class Model:
    """One model, written to a file.

    Args:
        name: Its name in every system.
        layers: Extents from its input to its output.
        path: Its ONNX file.
    """

    name: str
    layers: tuple[int, ...]
    path: Path

    def rows(self, count: int) -> NDArray[np.float32]:
        """Returns inputs, ``(count, features) float32``, of four digits each: about what people send."""
        return np.random.default_rng(count).normal(size=(count, self.layers[0])).round(4).astype(np.float32)

    def session(self) -> onnxruntime.InferenceSession:
        """Returns a session of its own with the options that every peer gets (`apps/onnx_sessions.py`)."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])


def digits(rows: NDArray[np.float32]) -> list[list[float]]:
    """Returns rows as JSON should have them: 0.1234, not the 17 digits of the binary32 beside it."""
    return [[round(value, 4) for value in row] for row in rows.tolist()]


def write_models(folder: Path) -> tuple[Model, Model]:
    """Writes `small` (32 → 16 → 4) and `mid` (256 → 3 × 512 → 16), both with a free batch extent.

    Args:
        folder: Where to; made if it is missing.

    Returns:
        Both.
    """
    folder.mkdir(parents=True, exist_ok=True)
    small, mid = (32, 16, 4), (256, 512, 512, 512, 16)
    return _write("small", small, folder), _write("mid", mid, folder)


def _write(name: str, layers: tuple[int, ...], folder: Path) -> Model:
    model = Model(name, layers, folder / f"{name}.onnx")
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], INPUT
    for number, (fan_in, fan_out) in enumerate(pairwise(layers)):
        is_output = number == len(layers) - 2
        linear = OUTPUT if is_output else f"linear{number}"
        matrix = random.normal(scale=(2 / fan_in) ** 0.5, size=(fan_in, fan_out)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"weights{number}"),
            numpy_helper.from_array(np.zeros(fan_out, np.float32), f"bias{number}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"weights{number}", f"bias{number}"], [linear]))
        if not is_output:
            last = f"hidden{number}"
            nodes.append(helper.make_node("Relu", [linear], [last]))
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", layers[at]]) for end, at in ((INPUT, 0), (OUTPUT, -1))]
    graph = helper.make_graph(nodes, name, ends[:1], ends[1:], weights)
    # Versions that every ONNX Runtime of the last years reads.
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(written)
    onnx.save_model(written, model.path)
    return model
