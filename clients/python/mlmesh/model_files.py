"""Models as files, by `model_management.formats`: only here does the client meet that library, and only when a model is saved or loaded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.common.v1 import tensor_pb2

from mlmesh.fields import enum_name, enum_value


@dataclass(frozen=True)
class WrittenModel:
    """A model that was written to a folder.

    Args:
        format: Name of its format.
        signature: Inputs and outputs; None where they are not known.
        onnx_path: The file that serving runs; empty where there is none.
        parameters: What else is known of it, for example `engine.version: 1.7.0`.
    """

    format: str
    signature: tensor_pb2.Signature | None
    onnx_path: str
    parameters: Mapping[str, str]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Makes a folder for the files of one model; it goes away with its context."""
    return tempfile.TemporaryDirectory(prefix="mlmesh-model-")


def write_model(model: Any, folder: Path, format: str | None, sample_input: Any, allow_pickle: bool, onnx: Any) -> WrittenModel:
    """Writes a model to an empty folder; see `model_management.formats.save_artifact`."""
    from model_management.formats import save_artifact

    saved = save_artifact(model, folder, format=format, sample_input=sample_input, allow_pickle=allow_pickle, onnx=onnx)
    return WrittenModel(saved.format, signature_message(saved.signature), saved.onnx_file or "", dict(_flat(saved.metadata)))


def read_model(folder: Path, format: str, allow_pickle: bool, trusted_types: Sequence[str]) -> Any:
    """Reads a model from a folder; see `model_management.formats.load_artifact`."""
    from model_management.formats import load_artifact

    return load_artifact(folder, format, allow_pickle=allow_pickle, trusted_types=trusted_types)


def signature_message(signature: Any) -> tensor_pb2.Signature | None:
    """Returns a `model_management.signature.Signature` as a message."""
    if signature is None:
        return None
    return tensor_pb2.Signature(inputs=map(_spec_message, signature.inputs), outputs=map(_spec_message, signature.outputs))


def signature_value(message: tensor_pb2.Signature) -> Any:
    """Returns a message as a `model_management.signature.Signature`; None where it says nothing."""
    from model_management.signature import Signature

    if not message.inputs and not message.outputs:
        return None
    return Signature(tuple(map(_spec_value, message.inputs)), tuple(map(_spec_value, message.outputs)))


def _flat(metadata: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields nested facts as the library's own registry writes them: `engine.package`, texts as they are, all else as JSON."""
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def _spec_message(spec: Any) -> tensor_pb2.TensorSpec:
    return tensor_pb2.TensorSpec(name=spec.name, datatype=enum_value(tensor_pb2.DataType, spec.datatype), shape=spec.shape)


def _spec_value(message: tensor_pb2.TensorSpec) -> Any:
    from model_management.signature import TensorSpec

    return TensorSpec(message.name, enum_name(tensor_pb2.DataType, message.datatype).upper(), tuple(message.shape))
