"""Composition root of the gateway: the control plane and the edge app in one process. Envoy is a process of its own.

`python -m gateway` runs them; `python -m gateway bootstrap` writes Envoy's bootstrap file and prints the command that starts Envoy.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping

from envoy.service.discovery.v3 import ads_pb2_grpc
from mlops.users.v1 import users_service_pb2 as users_pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from gateway.admin import Admin
from gateway.bootstrap import EnvoyNotFound, write_bootstrap
from gateway.configuration import configuration, read_contracts, read_mesh
from gateway.control_plane.jwks import JwksWatch
from gateway.control_plane.server import AdsServicer, ControlPlane
from gateway.control_plane.snapshot_file import read_snapshot, write_snapshot
from gateway.edge.app import edge_app
from gateway.edge.serving import EdgeServer
from gateway.metrics import envoy_metrics
from gateway.settings import GatewaySettings
from servers.runtime.component import Dependency
from servers.runtime.peers import open_channel
from servers.runtime.server import PUBLIC, Registration, Server, build_server, run
from servers.runtime.streams import should_end

_KEYS_TIMEOUT_S = 2.0
_TOKEN_TIMEOUT_S = 10.0


def build(settings: GatewaySettings) -> Server:
    """Puts the gateway's process together.

    Args:
        settings: Its settings.

    Returns:
        A server with the ADS on `settings.listen`. The edge app serves already, and Envoy's bootstrap file is written.

    Raises:
        ValueError: A setting is wrong.
        gateway.policies.ContractError: The contracts cannot be read.
    """
    contracts = read_contracts(settings)
    mesh = read_mesh(contracts, settings)
    control_plane = ControlPlane(
        read_snapshot(settings.snapshot_file), on_acknowledged=lambda snapshot: write_snapshot(settings.snapshot_file, snapshot)
    )
    channel = open_channel(settings.users_address, settings=settings, timeout_s=_KEYS_TIMEOUT_S)
    users = UserServiceStub(channel)
    keys = JwksWatch(
        lambda: users.GetJwks(users_pb.GetJwksRequest()).data,
        lambda jwks: control_plane.publish(configuration(contracts, mesh, jwks, settings)),
        interval_s=settings.key_refresh_interval_s,
    )

    def exchange_token(request: users_pb.ExchangeTokenRequest, metadata: Mapping[str, str]) -> users_pb.TokenResponse:
        return users.ExchangeToken(request, metadata=tuple(metadata.items()), timeout=_TOKEN_TIMEOUT_S)

    edge = EdgeServer(edge_app(settings.openapi_file, exchange_token), settings.edge_socket)
    admin = Admin(settings.admin_socket)
    server = build_server(
        # The certificate is for the public port. Envoy and the system monitor reach this server over its Unix socket, in plain text.
        settings.model_copy(update={"tls_certificate_file": None, "tls_key_file": None, "tls_client_ca_file": None}),
        [
            Registration(ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server, AdsServicer(control_plane, should_end), PUBLIC),
            *_span_file(settings),
        ],
        component="gateway",
        dependencies=[Dependency("envoy", admin.check, is_required=False), Dependency("keys", keys.check, is_required=False)],
        metrics=envoy_metrics(admin),
        on_close=[channel.close, keys.close, edge.close],
    )
    write_bootstrap(settings)
    edge.start()
    keys.start()
    return server


def _span_file(settings: GatewaySettings) -> list[Registration]:
    if settings.otlp_endpoint or settings.trace_file is None:
        return []
    # It takes the SDK of OpenTelemetry, which costs memory where nobody wants a trace.
    from gateway.spans import SpanFile, add_span_file

    return [Registration(add_span_file, SpanFile(settings.trace_file), PUBLIC)]


def main() -> int:
    """Runs the gateway's process, or writes Envoy's bootstrap file."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=["run", "bootstrap"], default="run")
    verb = parser.parse_args().verb
    if verb == "run":
        return run(lambda: build(GatewaySettings()))
    try:
        print(shlex.join(write_bootstrap(GatewaySettings())))
    except (EnvoyNotFound, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
