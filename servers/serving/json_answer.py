"""Outputs of a model as the JSON that a prediction answers.

One entry of `predictions` a row: the row itself where the model has one output, else an object keyed by output name. Where the outputs have
no row in common (a scalar, or different first extents), `predictions` has one entry with everything. Numbers are exact: a binary32
is written with all the digits of its binary64, so whoever reads doubles reads the model's own value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    model = {"name": name, "version": version, "digest": digest}

    def written(predictions: object) -> bytes:
        document = {"predictions": predictions, "model": model, "prediction_id": prediction_id}
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    text = written(_predictions(outputs, _value))
    # orjson writes `null` for what JSON has no number for. To look for it afterwards is cheaper than to look at every number before.
    return written(_predictions(outputs, _spelt_out)) if b"null" in text else text


def _predictions(outputs: Sequence[Output], value_of: Callable[[TensorSpec, np.ndarray[Any, Any]], Any]) -> object:
    if len(outputs) == 1:
        ((spec, array),) = outputs
        return value_of(spec, array) if array.ndim else [value_of(spec, array)]
    values = [(spec.name, value_of(spec, array)) for spec, array in outputs]
    extents = {array.shape[:1] for _, array in outputs}
    if len(extents) != 1 or () in extents:
        return [dict(values)]
    names = [name for name, _ in values]
    columns = [value if isinstance(value, list) else value.tolist() for _, value in values]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _value(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Any:
    """The tensor as something that orjson writes: itself, or lists where it has strings."""
    if spec.datatype == "BYTES":
        return array.tolist()
    if spec.datatype == "BF16":
        array = bfloat16_values(array)
    if array.dtype.kind == "f":
        array = array.astype(np.float64, copy=False)
    return np.ascontiguousarray(array) if array.ndim else array.item()


def _spelt_out(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Any:
    """Likewise, with words where a number is none that JSON has."""
    value = _value(spec, array)
    if spec.element.kind != "float" or np.isfinite(value).all():
        return value
    numbers = np.asarray(value)
    objects = numbers.astype(object)
    objects[np.isnan(numbers)] = "NaN"
    objects[np.isposinf(numbers)] = "Infinity"
    objects[np.isneginf(numbers)] = "-Infinity"
    return objects.tolist()
