"""Feast's contract stays out of the way of Feast itself, and says who may call what."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool

from servers.features.feast import contract
from servers.features.feast.grpc_servicer import GrpcFeatureServerServicer, ServingServiceServicer


class Recorder:
    def __init__(self) -> None:
        self.handlers: dict[str, set[str]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Nothing to record."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers[service] = set(handlers)


@pytest.mark.parametrize("name", ["feast.types.Value", "feast.serving.GetOnlineFeaturesRequest", "PushRequest"])
def test_the_messages_stay_out_of_the_pool_that_feast_uses(name: str) -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName(name)


def test_every_method_has_a_handler_and_a_policy() -> None:
    recorder, nothing = Recorder(), object()
    contract.add_serving_service_servicer_to_server(ServingServiceServicer(nothing), recorder)  # type: ignore[arg-type]
    contract.add_feature_server_servicer_to_server(GrpcFeatureServerServicer(nothing, nothing), recorder)  # type: ignore[arg-type]

    assert recorder.handlers == {
        "feast.serving.ServingService": {"GetFeastServingInfo", "GetOnlineFeatures"},
        "GrpcFeatureServer": {"GetOnlineFeatures", "Push", "WriteToOnlineStore"},
    }
    assert recorder.handlers["feast.serving.ServingService"] == set(contract.SERVING_SERVICE_POLICIES)
    assert recorder.handlers["GrpcFeatureServer"] == set(contract.FEATURE_SERVER_POLICIES)


def test_reading_and_writing_have_permissions_of_their_own() -> None:
    policies = {**contract.SERVING_SERVICE_POLICIES, **contract.FEATURE_SERVER_POLICIES}

    assert {name: policy.permission.rpartition(".")[2] for name, policy in policies.items()} == {
        "GetFeastServingInfo": "read",
        "GetOnlineFeatures": "read",
        "Push": "write",
        "WriteToOnlineStore": "write",
    }
