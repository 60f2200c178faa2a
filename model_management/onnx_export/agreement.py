"""Whether an ONNX predicts what its model predicts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_management.onnx_export.errors import OnnxNotPossible, reason_of
from model_management.onnx_export.predictions import Prediction

__all__ = ["Agreement", "compare", "run_onnx"]

_RELATIVE = 1e-3
_ABSOLUTE = 1e-4
"""Relative to the largest value of the output, or to 1 if that is larger: what float32 arithmetic in another order may change."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one output compares.

    Args:
        rows_differing: Which rows differ by more than the tolerance.
        largest_error: The largest absolute difference of a number; 0 for labels.
    """

    rows_differing: np.ndarray[Any, Any]
    largest_error: float


def run_onnx(model: Any, feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Run a `ModelProto` in ONNX Runtime, as serving does.

    Args:
        model: The ONNX.
        feeds: Its inputs by name.

    Raises:
        OnnxNotPossible: If it cannot be loaded, or fails.
    """
    # Otherwise it reports its use to its makers. It looks when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(_serialised(model), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:
        # The runtime's errors share no type but Exception.
        raise OnnxNotPossible(f"ONNX Runtime does not run it: {reason_of(error)}") from error


def compare(expected: Prediction, actual: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any] | None = None) -> Agreement:
    """Compare an output, row by row.

    Args:
        expected: What the model predicts.
        actual: What the ONNX predicts.
        probabilities: Where labels are compared, those of the model: with two of them equal, either label is right.

    Raises:
        OnnxNotPossible: If the shapes differ.
    """
    values = expected.values
    if actual.shape != values.shape and actual.size == values.size and len(actual) == len(values):
        actual = actual.reshape(values.shape)
    if actual.shape != values.shape:
        raise OnnxNotPossible(f"output {expected.name!r} has the shape {list(actual.shape)}, the model's {list(values.shape)}")
    if expected.name == "label":
        differs = np.asarray([str(a) != str(b) for a, b in zip(_plain(values), _plain(actual), strict=True)], dtype=bool)
        if probabilities is not None and probabilities.ndim == 2 and probabilities.shape[1] > 1:
            largest = np.sort(probabilities, axis=1)
            differs &= (largest[:, -1] - largest[:, -2]) > 2 * _ABSOLUTE
        return Agreement(np.flatnonzero(differs), 0.0)
    if values.dtype.kind in "OUS":
        same = values.astype(str) == actual.astype(str)
        return Agreement(np.flatnonzero(~same.reshape(len(same), -1).all(axis=1)), 0.0)
    left, right = values.astype(np.float64), actual.astype(np.float64)
    finite = np.abs(left[np.isfinite(left)])
    absolute = _ABSOLUTE * max(1.0, float(finite.max(initial=0.0)) if expected.name != "probabilities" else 1.0)
    close = np.isclose(right, left, rtol=_RELATIVE, atol=absolute, equal_nan=True)
    errors = np.abs(left - right)[np.isfinite(left) & np.isfinite(right)]
    return Agreement(np.flatnonzero(~close.reshape(len(close), -1).all(axis=1)), float(errors.max(initial=0.0)))


def _plain(labels: np.ndarray[Any, Any]) -> Sequence[Any]:
    """Return labels as they are written: 1 for 1.0 and True, which an ONNX has as whole numbers."""
    if labels.dtype.kind in "bf" and np.isfinite(labels.astype(float)).all() and (labels.astype(float) == labels.astype(np.int64)).all():
        labels = labels.astype(np.int64)
    plain: Sequence[Any] = labels.reshape(len(labels), -1).tolist() if labels.ndim > 1 else labels.tolist()
    return plain


def _serialised(model: Any) -> bytes:
    content: bytes = model.SerializeToString()
    return content
