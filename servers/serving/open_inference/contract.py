"""The messages of `inference.GRPCInferenceService`, in a descriptor pool of their own.

In the default pool they would collide with the stub of any other client of the protocol in the same process: `import tritonclient.grpc`
fails where the package `inference` is there already.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from mlops.common.v1.options_pb2 import MethodPolicy, policy

_DESCRIPTOR_FILE = Path(__file__).resolve().parents[3] / "gen" / "descriptors" / "inference.binpb"
_PACKAGE = "inference"
_SERVICE = f"{_PACKAGE}.GRPCInferenceService"

_FILES = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTOR_FILE.read_bytes())
_POOL = descriptor_pool.DescriptorPool()
for _file in _FILES.file:
    _POOL.Add(_file)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


ServerLiveRequest = _message("ServerLiveRequest")
ServerLiveResponse = _message("ServerLiveResponse")
ServerReadyRequest = _message("ServerReadyRequest")
ServerReadyResponse = _message("ServerReadyResponse")
ServerMetadataRequest = _message("ServerMetadataRequest")
ServerMetadataResponse = _message("ServerMetadataResponse")
ModelReadyRequest = _message("ModelReadyRequest")
ModelReadyResponse = _message("ModelReadyResponse")
ModelMetadataRequest = _message("ModelMetadataRequest")
ModelMetadataResponse = _message("ModelMetadataResponse")
ModelConfigRequest = _message("ModelConfigRequest")
ModelConfigResponse = _message("ModelConfigResponse")
ModelConfig = _message("ModelConfig")
ModelInferRequest = _message("ModelInferRequest")
ModelInferResponse = _message("ModelInferResponse")
ModelStreamInferResponse = _message("ModelStreamInferResponse")
InferTensorContents = _message("InferTensorContents")
ModelStatistics = _message("ModelStatistics")
ModelStatisticsRequest = _message("ModelStatisticsRequest")
ModelStatisticsResponse = _message("ModelStatisticsResponse")
StatisticDuration = _message("StatisticDuration")
RepositoryIndexRequest = _message("RepositoryIndexRequest")
RepositoryIndexResponse = _message("RepositoryIndexResponse")
RepositoryModelLoadRequest = _message("RepositoryModelLoadRequest")
RepositoryModelLoadResponse = _message("RepositoryModelLoadResponse")
RepositoryModelUnloadRequest = _message("RepositoryModelUnloadRequest")
RepositoryModelUnloadResponse = _message("RepositoryModelUnloadResponse")

POLICIES: Mapping[str, MethodPolicy] = MappingProxyType(
    {
        method.name: method.options.Extensions[policy]
        for file in _FILES.file
        if file.package == _PACKAGE
        for service in file.service
        for method in service.method
    }
)
"""Who may call each method, as the contract says."""


def add_grpc_inference_servicer_to_server(servicer: Any, server: Any) -> None:
    """Does what generated code would do, were there any."""
    methods = _POOL.FindServiceByName(_SERVICE).methods
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    server.add_registered_method_handlers(_SERVICE, handlers)


def _handler(method: MethodDescriptor, behaviour: Any) -> Any:
    make = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
    return make(
        behaviour,
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
    )
