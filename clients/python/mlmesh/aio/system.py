"""The system monitor: how the mesh is."""

from __future__ import annotations

import grpc.aio
from mlops.system.v1 import system_service_pb2, system_service_pb2_grpc

from mlmesh.aio.calls import Caller


class SystemClient:
    """Asks the mesh how it is.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = system_service_pb2_grpc.SystemMonitorServiceStub(channel)
        self._caller = caller

    async def get_health(self, *, timeout_s: float | None = None) -> system_service_pb2.GetHealthResponse:
        """Returns how every component is, what it depends on, its version, since when and why it is not healthy. Needs no token.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Unavailable: The mesh does not answer.
        """
        return await self._caller.unary(self._stub.GetHealth, system_service_pb2.GetHealthRequest(), timeout_s=timeout_s)

    async def get_metrics(self, *, timeout_s: float | None = None) -> str:
        """Returns the metrics of the whole mesh in the Prometheus text format.

        Args:
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.PermissionDenied: The caller may not read them (`system.metrics.read`).
        """
        answer = await self._caller.unary(self._stub.GetMetrics, system_service_pb2.GetMetricsRequest(), timeout_s=timeout_s)
        return str(answer.data, "utf-8")
