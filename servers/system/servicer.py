"""The contract of the system monitor."""

from __future__ import annotations

from google.api import httpbody_pb2
from grpc import ServicerContext
from mlops.system.v1 import system_service_pb2, system_service_pb2_grpc

from servers.system import converters
from servers.system.health import HealthWatch
from servers.system.metrics import MeshMetrics


class SystemServicer(system_service_pb2_grpc.SystemMonitorServiceServicer):
    """Serves `mlops.system.v1.SystemMonitorService`.

    Args:
        health: How the mesh is.
        metrics: What it counts.
        version: Version of the platform.
    """

    def __init__(self, health: HealthWatch, metrics: MeshMetrics, version: str) -> None:
        self._health = health
        self._metrics = metrics
        self._version = version

    def GetHealth(self, request: system_service_pb2.GetHealthRequest, context: ServicerContext) -> system_service_pb2.GetHealthResponse:
        """Says how every component is."""
        return converters.health_response(self._health.report(), self._version)

    def GetMetrics(self, request: system_service_pb2.GetMetricsRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Gives the metrics of the whole mesh."""
        return converters.metrics_body(self._metrics.text())
