from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from mlops.common.v1.options_pb2 import ACCESS_PERMISSION, ACCESS_PUBLIC

from servers.serving.open_inference import contract
from servers.serving.open_inference.grpc_servicer import GrpcInferenceServicer


class Recorder:
    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing to record."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        assert service == "inference.GRPCInferenceService"
        self.handlers |= handlers


def test_the_messages_stay_out_of_the_pool_that_other_stubs_use() -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


def test_every_method_has_a_handler_and_a_policy() -> None:
    recorder = Recorder()
    contract.add_grpc_inference_servicer_to_server(GrpcInferenceServicer(None, None), recorder)  # type: ignore[arg-type]

    assert recorder.handlers.keys() == contract.POLICIES.keys()
    assert len(recorder.handlers) == 20


def test_only_the_stream_streams() -> None:
    recorder = Recorder()
    contract.add_grpc_inference_servicer_to_server(GrpcInferenceServicer(None, None), recorder)  # type: ignore[arg-type]

    assert [name for name, handler in recorder.handlers.items() if handler.request_streaming] == ["ModelStreamInfer"]


def test_only_health_is_public() -> None:
    assert {name for name, policy in contract.POLICIES.items() if policy.access == ACCESS_PUBLIC} == {"ServerLive", "ServerReady"}


def test_predictions_models_and_their_management_have_permissions_of_their_own() -> None:
    permissions = {name: policy.permission for name, policy in contract.POLICIES.items() if policy.access == ACCESS_PERMISSION}

    assert {name for name, permission in permissions.items() if permission == "serving.models.predict"} == {
        "ModelInfer",
        "ModelStreamInfer",
    }
    assert {name for name, permission in permissions.items() if permission == "serving.models.manage"} == {
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }
    assert {name for name, policy in contract.POLICIES.items() if policy.audited} == {"RepositoryModelLoad", "RepositoryModelUnload"}
