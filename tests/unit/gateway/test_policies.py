"""What the gateway reads out of the contracts."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2
from mlops.common.v1 import options_pb2

from gateway.configuration import Contracts, read_contracts
from gateway.policies import ContractError, HttpRule, Method, RateClass, read_methods
from gateway.settings import GatewaySettings


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    return read_contracts(GatewaySettings())


def _method(contracts: Contracts, name: str) -> Method:
    return next(method for method in contracts.methods if method.path.endswith(f"/{name}"))


def test_every_service_of_a_component_is_there_and_what_is_on_every_server_is_not(contracts: Contracts) -> None:
    assert contracts.services == {
        "users": "mlops.users.v1.UserService",
        "registry": "mlops.registry.v1.ModelRegistryService",
        "ingestion": "mlops.ingestion.v1.DataIngestionService",
        "processing": "mlops.processing.v1.DataProcessingService",
        "features": "mlops.features.v1.FeastService",
        "serving": "mlops.serving.v1.ModelServingService",
        "system": "mlops.system.v1.SystemMonitorService",
    }


def test_the_policy_of_a_method_is_read(contracts: Contracts) -> None:
    login, get_model, create = (_method(contracts, name) for name in ("Login", "GetModel", "CreateModel"))

    assert (login.is_public, login.rate_class, login.is_repeatable) == (True, RateClass.AUTH, False)
    assert (get_model.is_public, get_model.rate_class, get_model.is_repeatable) == (False, RateClass.READ, True)
    assert not create.is_repeatable, "a repeat is safe only with the same request_id, which the gateway does not read"
    assert HttpRule("GET", "/api/v1/models/{name}") in get_model.http_rules


def test_additional_paths_of_a_method_are_read(contracts: Contracts) -> None:
    assert {rule.template for rule in _method(contracts, "PredictJson").http_rules} >= {"/api/v1/predict"}


def test_comments_and_positions_do_not_travel_to_envoy(contracts: Contracts) -> None:
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(contracts.descriptors)

    assert [file.name for file in descriptors.file if file.HasField("source_code_info")] == []
    assert "google/rpc/error_details.proto" in {file.name for file in descriptors.file}


def test_a_method_without_a_policy_is_refused() -> None:
    descriptors = descriptor_pb2.FileDescriptorSet()
    file = descriptors.file.add(name="mlops/x/v1/x.proto", package="mlops.x.v1")
    method = file.service.add(name="X").method.add(name="Do")
    method.options.Extensions[options_pb2.policy].access = options_pb2.ACCESS_PUBLIC

    with pytest.raises(ContractError, match=r"mlops\.x\.v1\.X\.Do"):
        read_methods(descriptors)


def test_a_descriptor_set_that_is_not_there_says_how_to_make_it() -> None:
    with pytest.raises(ContractError, match="make generate"):
        read_contracts(GatewaySettings(descriptor_file="/nowhere/mlops.binpb"))
