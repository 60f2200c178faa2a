"""From a PyTorch module or a Keras model to an ONNX that predicts the same."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from model_management.onnx_export.agreement import compare, run_onnx
from model_management.onnx_export.errors import OnnxNotPossible, reason_of
from model_management.onnx_export.export import OnnxExport
from model_management.onnx_export.graphs import opsets_of, rename_values, set_shape, signature_of_onnx
from model_management.onnx_export.predictions import Prediction

__all__ = ["export_keras", "export_torch"]

_OPSET = 18
"""For tf2onnx, whose own default (15) is older than some operators of Keras 3."""


def export_torch(model: Any, sample_input: Any) -> OnnxExport:
    """Make an ONNX of a module, with ``torch.onnx``.

    Args:
        model: A `torch.nn.Module` or a `torch.export.ExportedProgram`.
        sample_input: Tensors or arrays, batch first.

    Raises:
        OnnxNotPossible: If there is none that predicts the same.
    """
    import torch

    if isinstance(model, Mapping):
        raise OnnxNotPossible("tensors by name have no computation; save the module with a sample_input")
    if sample_input is None:
        raise OnnxNotPossible("a module is traced; pass sample_input")
    from model_management.formats.pytorch import as_tensors, export_program

    program = model if isinstance(model, torch.export.ExportedProgram) else export_program(model, sample_input)
    inputs = as_tensors(sample_input)
    try:
        with _quiet("torch.onnx"):
            exported = torch.onnx.export(program, (), dynamo=True, verbose=False)
        onnx_model = exported.model_proto
    except Exception as error:
        # The exporter's errors have no common type.
        raise OnnxNotPossible(f"torch.onnx does not convert it: {reason_of(error)}") from error
    with torch.no_grad():
        answer = program.module()(*inputs)
    outputs = _tensors_of(answer)
    feeds = {spec.name: tensor.detach().cpu().numpy() for spec, tensor in zip(signature_of_onnx(onnx_model).inputs, inputs, strict=True)}
    return _compared(onnx_model, feeds, [tensor.detach().cpu().numpy() for tensor in outputs])


def export_keras(model: Any, sample_input: Any) -> OnnxExport:
    """Make an ONNX of a Keras model, with tf2onnx.

    Args:
        model: A built Keras model.
        sample_input: Arrays, batch first; made up from the model's inputs where there are none.

    Raises:
        OnnxNotPossible: If there is none that predicts the same.
    """
    specs = list(getattr(model, "inputs", None) or ())
    if not specs:
        raise OnnxNotPossible("only a Keras model with known inputs is converted")
    try:
        import tensorflow as tf
        import tf2onnx
    except ImportError as error:
        raise OnnxNotPossible(f"{error.name} is not installed") from error
    names = ["input"] if len(specs) == 1 else [f"input_{index}" for index in range(len(specs))]
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=name) for spec, name in zip(specs, names, strict=True)]
    if sample_input is None:
        arrays = [_generated(spec) for spec in signature]
    else:
        several = sample_input if isinstance(sample_input, (tuple, list)) else [sample_input]
        arrays = [np.asarray(value) for value in several]
    if len(arrays) != len(signature):
        raise OnnxNotPossible(f"the model has {len(signature)} inputs, sample_input {len(arrays)}")
    arrays = [array.astype(spec.dtype.as_numpy_dtype, copy=False) for array, spec in zip(arrays, signature, strict=True)]

    def call(*tensors: Any) -> Any:
        return model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)

    try:
        with _quiet("tf2onnx"):
            onnx_model, _ = tf2onnx.convert.from_function(tf.function(call), input_signature=signature, opset=_OPSET)
    except Exception as error:
        # The converter's errors have no common type.
        raise OnnxNotPossible(f"tf2onnx does not convert it: {reason_of(error)}") from error
    try:
        answer = call(*(tf.constant(array) for array in arrays))
    except (ValueError, tf.errors.OpError) as error:
        raise OnnxNotPossible(f"the model does not predict for sample_input: {reason_of(error)}") from error
    outputs = list(answer) if isinstance(answer, (tuple, list)) else list(answer.values()) if isinstance(answer, Mapping) else [answer]
    return _compared(onnx_model, dict(zip(names, arrays, strict=True)), [np.asarray(output) for output in outputs])


def _compared(onnx_model: Any, feeds: dict[str, np.ndarray[Any, Any]], outputs: Sequence[np.ndarray[Any, Any]]) -> OnnxExport:
    found = [output.name for output in onnx_model.graph.output]
    if len(found) != len(outputs):
        raise OnnxNotPossible(f"the ONNX has {len(found)} outputs, the model {len(outputs)}")
    wanted = ["output"] if len(found) == 1 else [f"output_{index}" for index in range(len(found))]
    rename_values(onnx_model, {old: new for old, new in zip(found, wanted, strict=True) if old != new})
    actual = run_onnx(onnx_model, feeds)
    largest_error = 0.0
    for name, values, value in zip(wanted, outputs, onnx_model.graph.output, strict=True):
        agreement = compare(Prediction(name, values), actual[name])
        if len(agreement.rows_differing):
            raise OnnxNotPossible(
                f"output {name!r} differs from the model's own in {len(agreement.rows_differing)} of {len(values)} rows, "
                f"by up to {agreement.largest_error:.3g}"
            )
        largest_error = max(largest_error, agreement.largest_error)
        if not value.type.tensor_type.HasField("shape"):
            set_shape(value, (-1, *values.shape[1:]))
    report = {
        "rows_compared": len(next(iter(feeds.values()))),
        "sample": "given",
        "largest_error": largest_error,
        "opsets": opsets_of(onnx_model),
    }
    return OnnxExport(onnx_model, signature_of_onnx(onnx_model), report)


def _tensors_of(answer: Any) -> list[Any]:
    if isinstance(answer, (tuple, list)):
        return [tensor for value in answer for tensor in _tensors_of(value)]
    if isinstance(answer, Mapping):
        return [tensor for value in answer.values() for tensor in _tensors_of(value)]
    return [answer]


def _generated(spec: Any) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    shape = [8 if size is None else int(size) for size in spec.shape]
    if spec.dtype.is_floating:
        return random.standard_normal(shape)
    return random.integers(0, 2, shape)


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep what a converter prints and logs about itself from the user of ours."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
