"""Outputs of a model as the JSON that a prediction answers.

One entry of `predictions` a row: the row itself where the model has one output, else an object keyed by output name. Where the outputs have
no row in common (a scalar, or different first extents), `predictions` has one entry with everything. Numbers are exact: a binary32
is written with all the digits of its binary64, so whoever reads doubles reads the model's own value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from servers.serving.json_values import bfloat16_values
from servers.serving.signature import TensorSpec

Output = tuple[TensorSpec, "np.ndarray[Any, Any]"]


def predictions_json(outputs: Sequence[Output], *, name: str, version: int, digest: str, prediction_id: str) -> bytes:
    """Writes the answer to a JSON prediction.

    Args:
        outputs: What the model gave, with its specification.
        name: Name of the model.
        version: Version that answered.
        digest: Digest of the file that was run.
        prediction_id: Identifies the prediction.

    Returns:
        UTF-8 JSON: `{"predictions", "model": {"name", "version", "digest"}, "prediction_id"}`.
    """
    document = {
        "predictions": _predictions(outputs),
        "model": {"name": name, "version": version, "digest": digest},
        "prediction_id": prediction_id,
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _predictions(outputs: Sequence[Output]) -> object:
    values = [(spec.name, _value(spec, array)) for spec, array in outputs]
    extents = {array.shape[:1] for _, array in outputs}
    if len(extents) != 1 or () in extents:
        return [values[0][1]] if len(values) == 1 else [dict(values)]
    if len(values) == 1:
        return values[0][1]
    names = [name for name, _ in values]
    columns = [value if isinstance(value, list) else value.tolist() for _, value in values]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _value(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Any:
    """The tensor as something that orjson writes: itself, or lists where it has strings or numbers that JSON lacks."""
    if spec.datatype == "BYTES":
        return array.tolist()
    if spec.datatype == "BF16":
        array = bfloat16_values(array)
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
        if not np.isfinite(array).all():
            return _spelt_out(array)
    return np.ascontiguousarray(array) if array.ndim else array.item()


def _spelt_out(array: np.ndarray[Any, Any]) -> Any:
    objects = array.astype(object)
    objects[np.isnan(array)] = "NaN"
    objects[np.isposinf(array)] = "Infinity"
    objects[np.isneginf(array)] = "-Infinity"
    return objects.tolist()
