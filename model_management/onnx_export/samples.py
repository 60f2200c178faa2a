"""A signature where there is no ONNX: from a sample, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.onnx_export.layout import layout_of, rows_of
from model_management.onnx_export.predictions import predictions_of
from model_management.signature import DYNAMIC, Signature, TensorSpec

__all__ = ["signature_of_sample"]

_BY_NUMPY = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
}


def signature_of_sample(model: Any, format_name: str, sample_input: Any) -> Signature | None:
    """Return what can be said about inputs and outputs; None where that is nothing.

    Args:
        model: The model.
        format_name: The format it is saved in.
        sample_input: What it is given, batch first.
    """
    if sample_input is None:
        return None
    try:
        if format_name in ("sklearn", "xgboost", "lightgbm", "pickle"):
            layout = layout_of(model, sample_input)
            outputs = [_spec(found.name, found.values) for found in predictions_of(model, rows_of(sample_input))]
            return Signature(layout.with_floats("FP64").specs(), tuple(outputs))
        if isinstance(sample_input, Mapping):
            return Signature(tuple(_spec(str(name), value) for name, value in sample_input.items()))
        several = sample_input if isinstance(sample_input, (tuple, list)) else (sample_input,)
        names = ["input"] if len(several) == 1 else [f"input_{index}" for index in range(len(several))]
        return Signature(tuple(_spec(name, value) for name, value in zip(names, several, strict=True)))
    except (OnnxNotPossible, ValueError, TypeError, ImportError):
        return None


def _spec(name: str, values: Any) -> TensorSpec:
    dtype = str(values.dtype).removeprefix("torch.") if hasattr(values, "dtype") else str(np.asarray(values).dtype)
    shape = tuple(values.shape) if hasattr(values, "shape") else np.asarray(values).shape
    return TensorSpec(name, _BY_NUMPY.get(dtype, "BYTES"), (DYNAMIC, *(int(size) for size in shape[1:])))
