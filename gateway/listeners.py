"""The public listener: one port for gRPC, gRPC-Web and REST."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2, protocol_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.tracers.opentelemetry.samplers.v3 import trace_id_ratio_based_sampler_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2
from google.protobuf.message import Message

from gateway.access_log import access_log
from gateway.clusters import COLLECTOR, CONTROL_PLANE, address, ads_source
from gateway.filters import SUBJECT_HEADER, http_filters
from gateway.replies import local_reply_config
from gateway.routes import ROUTES
from gateway.settings import GatewaySettings
from gateway.topology import TcpEndpoint
from gateway.typed import any_of, boolean, seconds, uint32

LISTENER = "public"
"""Name of the public listener."""

# HTTP allows names that gRPC does not (`%`, `!`, …), and gRPC wants base64 under names that end so; a server that meets either ends the
# call with INTERNAL before any code of ours sees it. Pseudo-headers begin with a colon.
_NO_GRPC_METADATA = r"[^:].*[^0-9a-z_.-].*|[^:0-9a-z_.-].*|[^:].*-bin"

# Headers by which the mesh talks to itself; what a client sends under these names is dropped before anything reads it.
_INTERNAL_HEADERS = (
    SUBJECT_HEADER,
    "x-envoy-original-path",
    "x-envoy-original-method",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-decorator-operation",
    "x-envoy-force-trace",
    "x-envoy-internal",
)
_MAX_HEADERS = 100


def public_listener(descriptors: bytes, services: Sequence[str], settings: GatewaySettings) -> listener_pb2.Listener:
    """Returns the listener that clients see.

    Args:
        descriptors: Serialized descriptor set.
        services: Full names of the services to transcode.
        settings: Address, limits, TLS.
    """
    chain = listener_components_pb2.FilterChain(
        filters=[
            _network_filter("envoy.filters.network.http_connection_manager", _connection_manager(descriptors, services, settings)),
        ],
    )
    if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        chain.transport_socket.CopyFrom(_tls(settings))
    return listener_pb2.Listener(
        name=LISTENER,
        address=address(TcpEndpoint(settings.host, settings.port)),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=uint32(settings.buffer_bytes),
        # Two Envoys on one port would share it silently.
        enable_reuse_port=boolean(False),
        ignore_global_conn_limit=False,
        drain_type=listener_pb2.Listener.DEFAULT,
    )


def _network_filter(name: str, config: Message) -> listener_components_pb2.Filter:
    return listener_components_pb2.Filter(name=name, typed_config=any_of(config))


def _connection_manager(descriptors: bytes, services: Sequence[str], settings: GatewaySettings) -> hcm_pb2.HttpConnectionManager:
    return hcm_pb2.HttpConnectionManager(
        stat_prefix=LISTENER,
        codec_type=hcm_pb2.HttpConnectionManager.AUTO,
        server_name="mlmesh",
        rds=hcm_pb2.Rds(route_config_name=ROUTES, config_source=ads_source()),
        http_filters=http_filters(descriptors, services, settings),
        local_reply_config=local_reply_config(),
        access_log=access_log(settings),
        tracing=_tracing(settings),
        # Who calls.
        use_remote_address=boolean(True),
        xff_num_trusted_hops=settings.trusted_proxies,
        internal_address_config=hcm_pb2.HttpConnectionManager.InternalAddressConfig(unix_sockets=False),
        early_header_mutation_extensions=[drop_headers()],
        generate_request_id=boolean(True),
        always_set_request_id_in_response=True,
        # Paths.
        normalize_path=boolean(True),
        merge_slashes=True,
        strip_any_host_port=True,
        # Limits.
        max_request_headers_kb=uint32(settings.max_header_kib),
        request_headers_timeout=seconds(settings.header_timeout_s),
        stream_idle_timeout=seconds(settings.stream_idle_s),
        delayed_close_timeout=seconds(1),
        drain_timeout=seconds(settings.drain_before_stop_s),
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=seconds(settings.connection_idle_s),
            max_headers_count=uint32(_MAX_HEADERS),
        ),
        http2_protocol_options=protocol_pb2.Http2ProtocolOptions(
            max_concurrent_streams=uint32(settings.max_streams_per_connection),
            initial_stream_window_size=uint32(max(65_535, settings.buffer_bytes)),
            initial_connection_window_size=uint32(max(65_535, 4 * settings.buffer_bytes)),
        ),
    )


def _tracing(settings: GatewaySettings) -> hcm_pb2.HttpConnectionManager.Tracing:
    config = opentelemetry_pb2.OpenTelemetryConfig(service_name="gateway")
    # Envoy insists on an exporter. Spans for a trace file go to the control plane's process, which writes them.
    collector = COLLECTOR if settings.otlp_endpoint else CONTROL_PLANE
    config.grpc_service.envoy_grpc.cluster_name = collector
    config.grpc_service.timeout.CopyFrom(seconds(5))
    if not (settings.otlp_endpoint or settings.trace_file):
        # Trace ids are made, logged and passed on all the same, but no span is recorded.
        config.sampler.name = "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based"
        config.sampler.typed_config.CopyFrom(any_of(trace_id_ratio_based_sampler_pb2.TraceIdRatioBasedSamplerConfig()))
    return hcm_pb2.HttpConnectionManager.Tracing(
        provider=http_tracer_pb2.Tracing.Http(name="envoy.tracers.opentelemetry", typed_config=any_of(config)),
        random_sampling=percent_pb2.Percent(value=100 * settings.trace_sample_ratio),
        spawn_upstream_span=boolean(False),
    )


def drop_headers() -> extension_pb2.TypedExtensionConfig:
    """Returns the extension that drops what clients must not send, and what no server could read."""
    mutations = [mutation_rules_pb2.HeaderMutation(remove=name) for name in _INTERNAL_HEADERS]
    unreadable = string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=_NO_GRPC_METADATA))
    on_match = mutation_rules_pb2.HeaderMutation.RemoveOnMatch(key_matcher=unreadable)
    mutations.append(mutation_rules_pb2.HeaderMutation(remove_on_match=on_match))
    return extension_pb2.TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation",
        typed_config=any_of(header_mutation_pb2.HeaderMutation(mutations=mutations)),
    )


def _tls(settings: GatewaySettings) -> base_pb2.TransportSocket:
    context = tls_pb2.DownstreamTlsContext()
    common = context.common_tls_context
    common.alpn_protocols.extend(["h2", "http/1.1"])
    common.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    common.tls_certificates.append(
        common_pb2.TlsCertificate(
            certificate_chain=base_pb2.DataSource(filename=str(settings.tls_certificate_file)),
            private_key=base_pb2.DataSource(filename=str(settings.tls_key_file)),
        ),
    )
    if settings.tls_client_ca_file is not None:
        context.require_client_certificate.value = True
        common.validation_context.trusted_ca.filename = str(settings.tls_client_ca_file)
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))
