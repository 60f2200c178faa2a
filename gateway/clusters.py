"""Clusters: how Envoy reaches a component, how it sees that an endpoint is ill, and when it stops sending more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, health_check_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy.type.v3 import percent_pb2

from gateway.settings import GatewaySettings
from gateway.topology import Endpoint, TcpEndpoint, UnixEndpoint, Upstream, parse_endpoint
from gateway.typed import any_of, boolean, seconds, uint32
from servers.runtime.lane.paths import READY_PATH

EDGE = "edge"
"""Cluster of the edge app."""

CONTROL_PLANE = "control-plane"
"""Cluster of the control plane, which the bootstrap file names."""

COLLECTOR = "otlp-collector"
"""Cluster of the collector that takes Envoy's spans."""

_LANE = "-lane"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HEALTH_TIMEOUT_S = 2.0  # a Python server that loads a model may hold its interpreter for a second
_RECOVERY_INTERVAL_S = 0.25  # a component that was restarted has traffic again after at most this
_KEEPALIVE_S = 30.0
_DNS_REFRESH_S = 5.0


def ads_source() -> config_source_pb2.ConfigSource:
    """Says that a resource comes over the stream that all others come over, so that their order is known."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=seconds(0),
    )


def component_cluster(name: str, upstream: Upstream, settings: GatewaySettings) -> cluster_pb2.Cluster:
    """Returns the cluster of a component: HTTP/2, least request, health-checked.

    An endpoint leaves the rotation when its health check fails or its answers do. Where most endpoints of a cluster are ill, all of
    them are tried (panic): a lone endpoint that is slow to answer its check is a better bet than none.

    Args:
        name: Name of the cluster.
        upstream: Where the component is.
        settings: Limits.

    Returns:
        A cluster whose endpoints come by EDS, or by DNS where a host is a name.
    """
    cluster = _balanced(name, _http2(settings), _grpc_health_check(upstream.service, settings), settings)
    if any(isinstance(endpoint, TcpEndpoint) and endpoint.is_named for endpoint in upstream.endpoints):
        cluster.type = cluster_pb2.Cluster.STRICT_DNS
        cluster.dns_refresh_rate.CopyFrom(seconds(_DNS_REFRESH_S))
        cluster.load_assignment.CopyFrom(endpoints(name, upstream.endpoints))
    else:
        cluster.type = cluster_pb2.Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
    if settings.peer_ca_file is not None and any(isinstance(endpoint, TcpEndpoint) for endpoint in upstream.endpoints):
        cluster.transport_socket.CopyFrom(_upstream_tls(settings))
    return cluster


def lane_name(component: str) -> str:
    """Name of the cluster of a component's lane: that of its first worker, where it has several."""
    return f"{component}{_LANE}"


def workers_name(component: str) -> str:
    """Name of the cluster of the lanes of all workers of a component."""
    return f"{component}-workers{_LANE}"


def is_lane(cluster: str) -> bool:
    """Whether a cluster is one of lanes."""
    return cluster.endswith(_LANE)


def lane_cluster(name: str, settings: GatewaySettings) -> cluster_pb2.Cluster:
    """Returns a cluster of lanes: gRPC over HTTP/1.1 with trailers, and REST. Its endpoints come by EDS.

    Args:
        name: Its name.
        settings: Limits.
    """
    http1 = protocol_pb2.Http1ProtocolOptions(enable_trailers=True)
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=http1)
    options = http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config=explicit)
    check = health_check_pb2.HealthCheck.HttpHealthCheck(path=READY_PATH)
    cluster = _balanced(name, options, _health_check(settings, http_health_check=check), settings)
    # A worker that was killed is back after about two seconds, and until then its health check keeps calls from it.
    cluster.outlier_detection.base_ejection_time.CopyFrom(seconds(1))
    # Where the one is ejected and the other dies, all calls would go to the dead one alone. With both ejected both are tried (panic), and
    # a call that is repeated goes to the other.
    cluster.outlier_detection.max_ejection_percent.CopyFrom(uint32(100))
    # Half of the calls under way, or all, are with a worker that dies, and each has to be repeated. A budget that is a share of the
    # calls that are left would let some of them fail.
    cluster.circuit_breakers.thresholds[0].retry_budget.min_retry_concurrency.CopyFrom(uint32(settings.max_upstream_requests))
    cluster.type = cluster_pb2.Cluster.EDS
    cluster.eds_cluster_config.eds_config.CopyFrom(ads_source())
    return cluster


def edge_cluster(settings: GatewaySettings) -> cluster_pb2.Cluster:
    """Returns the cluster of the edge app: HTTP/1.1 over a Unix socket."""
    return cluster_pb2.Cluster(
        name=EDGE,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=seconds(settings.connect_timeout_s),
        circuit_breakers=_circuit_breakers(settings),
        load_assignment=endpoints(EDGE, [UnixEndpoint(str(settings.edge_socket))]),
    )


def collector_cluster(settings: GatewaySettings) -> cluster_pb2.Cluster | None:
    """Returns the cluster of the OTLP collector, or None where no `otlp_endpoint` is set."""
    if not settings.otlp_endpoint:
        return None
    is_url = "://" in settings.otlp_endpoint
    parts = urlsplit(settings.otlp_endpoint if is_url else f"http://{settings.otlp_endpoint}")
    if settings.otlp_endpoint.startswith("unix:"):
        endpoint: Endpoint = parse_endpoint(settings.otlp_endpoint)
    else:
        endpoint = TcpEndpoint(parts.hostname or "", parts.port or 4317)
    named = isinstance(endpoint, TcpEndpoint) and endpoint.is_named
    cluster = cluster_pb2.Cluster(
        name=COLLECTOR,
        type=cluster_pb2.Cluster.STRICT_DNS if named else cluster_pb2.Cluster.STATIC,
        connect_timeout=seconds(settings.connect_timeout_s),
        load_assignment=endpoints(COLLECTOR, [endpoint]),
        typed_extension_protocol_options={_HTTP_OPTIONS: any_of(_http2(settings))},
    )
    if parts.scheme == "https":
        context = tls_pb2.UpstreamTlsContext(sni=parts.hostname or "", auto_host_sni=True)
        context.common_tls_context.validation_context.system_root_certs.SetInParent()
        cluster.transport_socket.CopyFrom(
            base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context)),
        )
    return cluster


def endpoints(
    cluster: str, members: Sequence[Endpoint], *, draining: frozenset[Endpoint] = frozenset()
) -> endpoint_pb2.ClusterLoadAssignment:
    """Returns the endpoints of a cluster.

    Args:
        cluster: Name of the cluster.
        members: Its endpoints.
        draining: Those that finish what they have and get nothing new.
    """
    return endpoint_pb2.ClusterLoadAssignment(
        cluster_name=cluster,
        endpoints=[
            endpoint_components_pb2.LocalityLbEndpoints(
                lb_endpoints=[
                    endpoint_components_pb2.LbEndpoint(
                        endpoint=endpoint_components_pb2.Endpoint(address=address(member)),
                        health_status=health_check_pb2.DRAINING if member in draining else health_check_pb2.UNKNOWN,
                    )
                    for member in members
                ],
            ),
        ],
    )


def address(endpoint: Endpoint) -> address_pb2.Address:
    """Returns an address as Envoy writes it."""
    if isinstance(endpoint, UnixEndpoint):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=endpoint.path))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=endpoint.host, port_value=endpoint.port))


def _balanced(
    name: str,
    http: http_protocol_options_pb2.HttpProtocolOptions,
    check: health_check_pb2.HealthCheck,
    settings: GatewaySettings,
) -> cluster_pb2.Cluster:
    return cluster_pb2.Cluster(
        name=name,
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST,
        connect_timeout=seconds(settings.connect_timeout_s),
        per_connection_buffer_limit_bytes=uint32(settings.buffer_bytes),
        circuit_breakers=_circuit_breakers(settings),
        outlier_detection=_outlier_detection(),
        health_checks=[check],
        common_lb_config=cluster_pb2.Cluster.CommonLbConfig(
            healthy_panic_threshold=percent_pb2.Percent(value=50),
            # Health that changed counts at once; the default gathers changes for a second.
            update_merge_window=seconds(0),
        ),
        ignore_health_on_host_removal=True,
        typed_extension_protocol_options={_HTTP_OPTIONS: any_of(http)},
    )


def _http2(settings: GatewaySettings) -> http_protocol_options_pb2.HttpProtocolOptions:
    http2 = protocol_pb2.Http2ProtocolOptions(
        initial_stream_window_size=uint32(max(65_535, settings.buffer_bytes)),
        initial_connection_window_size=uint32(max(65_535, 4 * settings.buffer_bytes)),
        connection_keepalive=protocol_pb2.KeepaliveSettings(interval=seconds(_KEEPALIVE_S), timeout=seconds(10)),
        # A gRPC server meets the small messages of a stream with more window updates than Envoy's default (10) takes for anything but a
        # flood, above all on a new connection. Upstreams are servers of ours.
        max_inbound_window_update_frames_per_data_frame_sent=uint32(1_000),
    )
    explicit = http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=http2)
    return http_protocol_options_pb2.HttpProtocolOptions(explicit_http_config=explicit)


def _grpc_health_check(service: str, settings: GatewaySettings) -> health_check_pb2.HealthCheck:
    return _health_check(settings, grpc_health_check=health_check_pb2.HealthCheck.GrpcHealthCheck(service_name=service))


def _health_check(settings: GatewaySettings, **check: Any) -> health_check_pb2.HealthCheck:
    return health_check_pb2.HealthCheck(
        timeout=seconds(_HEALTH_TIMEOUT_S),
        interval=seconds(settings.health_interval_s),
        # Without this an endpoint that nobody calls would be checked once a minute.
        no_traffic_interval=seconds(settings.health_interval_s),
        unhealthy_interval=seconds(min(_RECOVERY_INTERVAL_S, settings.health_interval_s)),
        unhealthy_edge_interval=seconds(min(_RECOVERY_INTERVAL_S, settings.health_interval_s)),
        no_traffic_healthy_interval=seconds(settings.health_interval_s),
        unhealthy_threshold=uint32(2),
        healthy_threshold=uint32(1),
        reuse_connection=boolean(True),
        **check,
    )


def _circuit_breakers(settings: GatewaySettings) -> circuit_breaker_pb2.CircuitBreakers:
    limit = uint32(settings.max_upstream_requests)
    budget = circuit_breaker_pb2.CircuitBreakers.Thresholds.RetryBudget(
        budget_percent=percent_pb2.Percent(value=20),
        min_retry_concurrency=uint32(16),
    )
    thresholds = circuit_breaker_pb2.CircuitBreakers.Thresholds(
        max_connections=limit,
        max_pending_requests=limit,
        max_requests=limit,
        retry_budget=budget,
        track_remaining=True,
    )
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[thresholds])


def _outlier_detection() -> outlier_detection_pb2.OutlierDetection:
    # At most half of a cluster is ejected, so a lone endpoint never is; UNAVAILABLE and INTERNAL count as 5xx.
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=uint32(10),
        consecutive_gateway_failure=uint32(5),
        enforcing_consecutive_gateway_failure=uint32(100),
        # A health check says that the server lives; it does not say that its answers are right.
        successful_active_health_check_uneject_host=boolean(False),
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=uint32(3),
        interval=seconds(1),
        base_ejection_time=seconds(5),
        max_ejection_time=seconds(60),
        max_ejection_percent=uint32(50),
    )


def _upstream_tls(settings: GatewaySettings) -> base_pb2.TransportSocket:
    context = tls_pb2.UpstreamTlsContext(auto_host_sni=True, auto_sni_san_validation=True)
    common = context.common_tls_context
    common.alpn_protocols.append("h2")
    common.validation_context.trusted_ca.filename = str(settings.peer_ca_file)
    if settings.peer_certificate_file is not None and settings.peer_key_file is not None:
        common.tls_certificates.append(
            common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(filename=str(settings.peer_certificate_file)),
                private_key=base_pb2.DataSource(filename=str(settings.peer_key_file)),
            ),
        )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))
