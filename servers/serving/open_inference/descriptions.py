"""What the protocol tells of server and models, as its messages. REST prints the same messages as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2

from servers.serving.open_inference import contract

PLATFORM = "onnxruntime_onnx"
"""How Triton calls ONNX models in ONNX Runtime; clients look at it."""

_BACKEND = "onnxruntime"
_EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")
_READY = served_model_pb2.SERVED_MODEL_STATE_READY
# The index knows three words besides READY. What cannot be loaded is UNAVAILABLE, and the reason says why.
_STATES = {
    served_model_pb2.SERVED_MODEL_STATE_LOADING: "LOADING",
    _READY: "READY",
    served_model_pb2.SERVED_MODEL_STATE_UNLOADING: "UNLOADING",
    served_model_pb2.SERVED_MODEL_STATE_FAILED: "UNAVAILABLE",
}
_DATATYPES = {value.number: value.name.removeprefix("DATA_TYPE_") for value in tensor_pb2.DataType.DESCRIPTOR.values}


def server_metadata(version: str) -> Any:
    """Name, version and extensions of the server."""
    return contract.ServerMetadataResponse(name="mlmesh", version=version, extensions=_EXTENSIONS)


def model_metadata(model: served_model_pb2.ServedModel, of_model: Sequence[served_model_pb2.ServedModel]) -> Any:
    """Inputs and outputs of a version.

    Args:
        model: The version.
        of_model: What is in memory of the model.
    """
    versions = sorted({model.version, *(other.version for other in of_model if other.state == _READY)})
    response = contract.ModelMetadataResponse(name=model.name, versions=map(str, versions), platform=PLATFORM)
    for specs, target in ((model.signature.inputs, response.inputs), (model.signature.outputs, response.outputs)):
        for spec in specs:
            target.add(name=spec.name, datatype=_DATATYPES[spec.datatype], shape=spec.shape)
    return response


def model_config(model: served_model_pb2.ServedModel) -> Any:
    """A version as Triton's configuration describes models."""
    config = contract.ModelConfig(name=model.name, platform=PLATFORM, backend=_BACKEND, default_model_filename="model.onnx")
    config.version_policy.specific.versions.append(model.version)
    for specs, target in ((model.signature.inputs, config.input), (model.signature.outputs, config.output)):
        for spec in specs:
            target.add(name=spec.name, data_type=_data_type(_DATATYPES[spec.datatype]), dims=spec.shape)
    config.model_transaction_policy.decoupled = False
    config.parameters["mlmesh_digest"].string_value = model.digest
    config.parameters["mlmesh_project"].string_value = model.project
    return config


def repository_index(models: Sequence[served_model_pb2.ServedModel], *, only_ready: bool) -> Any:
    """What is in memory."""
    response = contract.RepositoryIndexResponse()
    for model in models:
        if model.state == _READY or not only_ready:
            response.models.add(name=model.name, version=str(model.version), state=_STATES[model.state], reason=model.error)
    return response


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
