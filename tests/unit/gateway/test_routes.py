"""Every method's route says what its policy asks for."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2

from gateway import filters
from gateway.configuration import Contracts, Mesh, configuration, read_contracts
from gateway.control_plane.snapshot import LISTENER
from gateway.policies import Method, RateClass
from gateway.routes import Target, method_route, route_configuration
from gateway.settings import GatewaySettings
from gateway.topology import TcpEndpoint, UnixEndpoint, Upstream

SETTINGS = GatewaySettings(upstreams={})
CONTRACTS: Contracts = read_contracts(SETTINGS)
ONE = (Target("users", 1),)


def _route(method: Method, *targets: Target) -> Any:
    return method_route(method, targets or ONE, SETTINGS)


@pytest.mark.parametrize("method", CONTRACTS.methods, ids=lambda method: method.path)
def test_the_route_of_a_method_is_as_strict_as_its_policy(method: Method) -> None:
    route = _route(method)

    token = jwt_pb2.PerRouteConfig()
    assert route.typed_per_filter_config[filters.JWT].Unpack(token)
    assert token.disabled == method.is_public
    assert bool(token.requirement_name) != method.is_public
    assert ("unavailable" in route.route.retry_policy.retry_on) == (method.is_repeatable and not method.is_streaming)
    assert (route.route.timeout.seconds == 0) == method.is_streaming
    assert (filters.COMPRESSOR in route.typed_per_filter_config) == method.is_server_streaming
    assert (filters.BODY_LIMIT in route.typed_per_filter_config) == method.is_client_streaming
    facts = route.metadata.filter_metadata[filters.METADATA]
    by_address = method.is_public or method.rate_class is RateClass.AUTH
    assert (filters.ADDRESS_KEY in facts) == by_address
    assert (filters.CALLER_KEY in facts) != by_address


def test_no_method_is_left_out_and_none_is_open_by_accident() -> None:
    routes = route_configuration(CONTRACTS.methods, {}, SETTINGS).virtual_hosts[0].routes

    assert {route.match.path for route in routes} >= {method.path for method in CONTRACTS.methods}
    for route in routes:
        assert filters.JWT in route.typed_per_filter_config, route.name


def test_a_component_without_targets_is_answered_without_a_server() -> None:
    route = method_route(CONTRACTS.methods[0], (), SETTINGS)

    assert route.direct_response.status == 501


def test_a_split_keeps_clusters_of_weight_zero_in_the_route() -> None:
    route = _route(CONTRACTS.methods[0], Target("a", 100), Target("b", 0))

    assert [(each.name, each.weight.value) for each in route.route.weighted_clusters.clusters] == [("a", 100), ("b", 0)]


def test_hosts_with_names_are_resolved_and_others_come_over_the_control_plane() -> None:
    named = Mesh({"users": Upstream("users", (TcpEndpoint("users.mesh", 9101),), "U")})
    local = Mesh({"users": Upstream("users", (UnixEndpoint("/u.sock"),), "U")})

    by_name = configuration(CONTRACTS, named, "{}", SETTINGS)
    by_socket = configuration(CONTRACTS, local, "{}", SETTINGS)

    types = {url.rpartition(".")[2]: names for url, names in by_name.resources.items()}
    assert "users" not in types["ClusterLoadAssignment"]
    assert "users" in {url.rpartition(".")[2]: names for url, names in by_socket.resources.items()}["ClusterLoadAssignment"]


def test_new_keys_change_the_version_but_not_the_listener() -> None:
    mesh = Mesh({"users": Upstream("users", (UnixEndpoint("/u.sock"),), "U")})

    first = configuration(CONTRACTS, mesh, '{"keys":[1]}', SETTINGS)
    second = configuration(CONTRACTS, mesh, '{"keys":[2]}', SETTINGS)

    assert first.version != second.version
    assert first.of_type(LISTENER) == second.of_type(LISTENER)


def test_the_same_configuration_has_the_same_version_every_time() -> None:
    mesh = Mesh({"users": Upstream("users", (UnixEndpoint("/u.sock"),), "U")})

    assert configuration(CONTRACTS, mesh, "{}", SETTINGS).version == configuration(CONTRACTS, mesh, "{}", SETTINGS).version
