"""The messages of Feast's gRPC services, in a descriptor pool of their own.

In the default pool they would collide with those of `feast` in the same process.
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

_DESCRIPTOR_FILE = Path(__file__).resolve().parents[3] / "gen" / "descriptors" / "feast.binpb"

SERVING_SERVICE = "feast.serving.ServingService"
"""What clients in Go and Java call."""
FEATURE_SERVER = "GrpcFeatureServer"
"""What clients of Feast's server in Python call."""

_FILES = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTOR_FILE.read_bytes())
_POOL = descriptor_pool.DescriptorPool()
for _file in _FILES.file:
    _POOL.Add(_file)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


Value = _message("feast.types.Value")
RepeatedValue = _message("feast.types.RepeatedValue")
GetFeastServingInfoRequest = _message("feast.serving.GetFeastServingInfoRequest")
GetFeastServingInfoResponse = _message("feast.serving.GetFeastServingInfoResponse")
GetOnlineFeaturesRequest = _message("feast.serving.GetOnlineFeaturesRequest")
GetOnlineFeaturesResponse = _message("feast.serving.GetOnlineFeaturesResponse")
PushRequest = _message("PushRequest")
PushResponse = _message("PushResponse")
WriteToOnlineStoreRequest = _message("WriteToOnlineStoreRequest")
WriteToOnlineStoreResponse = _message("WriteToOnlineStoreResponse")


def _policies(service: str) -> Mapping[str, MethodPolicy]:
    methods = (
        method
        for file in _FILES.file
        for each in file.service
        if ".".join([file.package] * bool(file.package) + [each.name]) == service
        for method in each.method
    )
    return MappingProxyType({method.name: method.options.Extensions[policy] for method in methods})


SERVING_SERVICE_POLICIES = _policies(SERVING_SERVICE)
"""Who may call each method, as the contract says."""
FEATURE_SERVER_POLICIES = _policies(FEATURE_SERVER)
"""Likewise."""


def add_serving_service_servicer_to_server(servicer: Any, server: Any) -> None:
    """Does what generated code would do, were there any."""
    _add(SERVING_SERVICE, servicer, server)


def add_feature_server_servicer_to_server(servicer: Any, server: Any) -> None:
    """Does what generated code would do, were there any."""
    _add(FEATURE_SERVER, servicer, server)


def _add(service: str, servicer: Any, server: Any) -> None:
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in _POOL.FindServiceByName(service).methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)


def _handler(method: MethodDescriptor, behaviour: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
        response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
    )
