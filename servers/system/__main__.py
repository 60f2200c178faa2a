"""Composition root of the system monitor: `python -m servers.system`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from mlops.system.v1 import system_service_pb2_grpc

from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, Server, build_server, run, software_version
from servers.runtime.service_identity import ServiceCredentials
from servers.runtime.tokens import TokenVerifier
from servers.system.component_peers import ComponentPeer
from servers.system.envoy_admin import envoy_metrics
from servers.system.exposition import Source
from servers.system.health import HealthWatch
from servers.system.metrics import MeshMetrics
from servers.system.servicer import SystemServicer
from servers.system.settings import SystemSettings


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


def build(settings: SystemSettings, *, verifier: TokenVerifier | None = None) -> Server:
    """Puts the system monitor together.

    Args:
        settings: Its settings.
        verifier: Judges tokens; None = one with the keys of the users server.

    Returns:
        A server to start.

    Raises:
        ValueError: If a setting that names a peer is missing.
    """
    identity = ServiceCredentials.from_settings(settings)
    closers: list[Callable[[], object]] = [identity.close]

    def peer(address: str) -> ComponentPeer:
        # That somebody is away is the answer here, and not a reason to wait for her.
        anonymous = open_channel(address, settings=settings, patience_s=0)
        identified = open_channel(address, identity=identity, settings=settings)
        closers.extend([anonymous.close, identified.close])
        return ComponentPeer(
            anonymous, identified, status_timeout_s=settings.component_timeout_s, metrics_timeout_s=settings.metrics_timeout_s
        )

    peers = {
        name: [peer(address), *(peer(other) for other in settings.worker_addresses.get(name, ()))]
        for name, address in settings.component_addresses.items()
    }
    asks = {name: [worker.report for worker in workers] for name, workers in peers.items()}
    health = HealthWatch(asks, cache_s=settings.health_cache_s, now=utc_now)
    sources: dict[Source, Callable[[], str]] = {
        Source(name, number if len(workers) > 1 else 0): worker.metrics
        for name, workers in peers.items()
        for number, worker in enumerate(workers, 1)
    }
    if settings.envoy_admin_socket is not None:
        fetch = partial(envoy_metrics, timeout_s=settings.metrics_timeout_s, max_bytes=settings.max_metrics_bytes)
        sources[Source("envoy")] = partial(fetch, settings.envoy_admin_socket)
    metrics = MeshMetrics(sources)
    return build_server(
        settings,
        [
            Registration(
                system_service_pb2_grpc.add_SystemMonitorServiceServicer_to_server, SystemServicer(health, metrics, software_version())
            )
        ],
        component="system",
        verifier=verifier,
        on_close=[*closers, health.close, metrics.close],
    )


if __name__ == "__main__":
    sys.exit(run(lambda: build(SystemSettings())))
