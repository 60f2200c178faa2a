"""Every method's route says what its policy asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from gateway import filters
from gateway.configuration import Contracts, Mesh, configuration, read_contracts
from gateway.control_plane.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource
from gateway.policies import Method, RateClass
from gateway.routes import Target, method_routes, route_configuration
from gateway.settings import GatewaySettings
from gateway.topology import TcpEndpoint, UnixEndpoint, Upstream

SETTINGS = GatewaySettings(upstreams={})
CONTRACTS: Contracts = read_contracts(SETTINGS)
ONE = (Target("users", 1),)
LANE = (Target("users-lane", 1),)
PREDICT_JSON = next(method for method in CONTRACTS.methods if method.name == "PredictJson")


def _route(method: Method, *targets: Target) -> Any:
    (route,) = method_routes(method, targets or ONE, SETTINGS)
    return route


@pytest.mark.parametrize("method", CONTRACTS.methods, ids=lambda method: method.path)
def test_each_route_of_a_method_is_as_strict_as_its_policy(method: Method) -> None:
    for route in (*method_routes(method, ONE, SETTINGS), *method_routes(method, LANE, SETTINGS)):
        _assert_strict(route, method)


def _assert_strict(route: Any, method: Method) -> None:
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
    routes = route_configuration([(method, LANE) for method in CONTRACTS.methods], SETTINGS).virtual_hosts[0].routes

    assert {route.match.path for route in routes} >= {method.path for method in CONTRACTS.methods}
    for route in routes:
        assert filters.JWT in route.typed_per_filter_config, route.name


def test_predictions_come_before_all_other_methods() -> None:
    routes = route_configuration([(method, LANE) for method in CONTRACTS.methods], SETTINGS).virtual_hosts[0].routes
    rate_class = {method.path.removeprefix("/"): method.rate_class for method in CONTRACTS.methods}
    are_predictions = [rate_class[route.name] is RateClass.PREDICT for route in routes if route.name in rate_class]

    assert any(are_predictions)
    assert are_predictions == sorted(are_predictions, reverse=True)


def test_a_component_without_targets_is_answered_without_a_server() -> None:
    (route,) = method_routes(CONTRACTS.methods[0], (), SETTINGS)

    assert route.direct_response.status == 501


def test_bytes_pass_the_transcoder_by_where_there_is_a_lane() -> None:
    grpc, *rest = method_routes(PREDICT_JSON, LANE, SETTINGS)

    assert grpc.match.path == PREDICT_JSON.path
    assert [route.match.safe_regex.regex for route in rest] == [r"/api/v1/models/[^/]+/predict", r"/api/v1/predict"]
    for route in rest:
        assert filters.TRANSCODER in route.typed_per_filter_config
        assert next((header.name, header.string_match.exact) for header in route.match.headers) == (":method", "POST")


def test_streams_in_both_directions_do_not_take_the_lane() -> None:
    both = replace(PREDICT_JSON, is_client_streaming=True, is_server_streaming=True)
    mesh = Mesh({"serving": Upstream("serving", (UnixEndpoint("/s.sock"),), "S", lane=(UnixEndpoint("/l.sock"),))})

    assert [target.cluster for target in mesh.targets_of(PREDICT_JSON)] == ["serving-lane"]
    assert [target.cluster for target in mesh.targets_of(both)] == ["serving"]


def test_of_several_workers_each_predicts_and_the_component_itself_is_told_what_to_load() -> None:
    lanes = (UnixEndpoint("/1.sock"), UnixEndpoint("/2.sock"))
    mesh = Mesh({"serving": Upstream("serving", (UnixEndpoint("/s.sock"),), "S", lane=lanes)})
    load = next(method for method in CONTRACTS.methods if method.name == "LoadModel")

    clusters = configuration(CONTRACTS, mesh, "{}", SETTINGS).of_type(ENDPOINTS)

    assert [target.cluster for target in mesh.targets_of(PREDICT_JSON)] == ["serving-workers-lane"]
    assert [target.cluster for target in mesh.targets_of(load)] == ["serving-lane"]
    assert _sockets(clusters["serving-workers-lane"]) == ["/1.sock", "/2.sock"]
    assert _sockets(clusters["serving-lane"]) == ["/1.sock"]


def _sockets(resource: Resource) -> list[str]:
    assignment = endpoint_pb2.ClusterLoadAssignment()
    assert resource.body.Unpack(assignment)
    return [member.endpoint.address.pipe.path for member in assignment.endpoints[0].lb_endpoints]


def test_protocols_of_others_have_the_routes_of_their_component_and_no_rest() -> None:
    infer = next(method for method in CONTRACTS.methods if method.path == "/inference.GRPCInferenceService/ModelInfer")

    assert (infer.component, infer.rate_class, infer.http_rules) == ("serving", RateClass.PREDICT, ())
    assert "inference.GRPCInferenceService" not in CONTRACTS.transcoded
    assert CONTRACTS.services["serving"] == "mlops.serving.v1.ModelServingService"


def test_the_services_of_feast_are_those_of_features_and_one_of_them_has_no_package() -> None:
    served = {
        method.path: method for method in CONTRACTS.methods if method.service in ("feast.serving.ServingService", "GrpcFeatureServer")
    }

    assert served["/GrpcFeatureServer/GetOnlineFeatures"].rate_class is RateClass.PREDICT
    assert served["/GrpcFeatureServer/Push"].rate_class is RateClass.WRITE
    assert "/feast.serving.ServingService/GetFeastServingInfo" in served
    assert {method.component for method in served.values()} == {"features"}
    assert not any(method.is_public or method.http_rules for method in served.values())
    assert not {"feast.serving.ServingService", "GrpcFeatureServer"} & {*CONTRACTS.transcoded}
    assert "mlops.features.v1.FeastService" in CONTRACTS.transcoded


def test_a_lane_has_a_cluster_of_its_own_that_speaks_http_1_with_trailers() -> None:
    mesh = Mesh({"users": Upstream("users", (UnixEndpoint("/u.sock"),), "U", lane=(UnixEndpoint("/l.sock"),))})

    cluster = cluster_pb2.Cluster()
    assert configuration(CONTRACTS, mesh, "{}", SETTINGS).of_type(CLUSTER)["users-lane"].body.Unpack(cluster)

    options = http_protocol_options_pb2.HttpProtocolOptions()
    assert cluster.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Unpack(options)
    assert options.explicit_http_config.http_protocol_options.enable_trailers
    assert cluster.health_checks[0].http_health_check.path == "/ready"


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
