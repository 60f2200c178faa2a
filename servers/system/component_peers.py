"""The other servers of the mesh, as the system monitor asks them: the only module of it that calls peers."""

from __future__ import annotations

import grpc
from mlops.common.v1 import component_service_pb2 as pb
from mlops.common.v1 import component_service_pb2_grpc

from servers.system.converters import component_report
from servers.system.health import NoAnswerError
from servers.system.reports import ComponentReport


class ComponentPeer:
    """One component, or one of its processes where it has several.

    Args:
        anonymous: Channel to it without credentials: how it is, anyone may ask.
        identified: Channel to it with the credentials of the mesh's service account, for its metrics.
        status_timeout_s: Longest time for it to say how it is, in seconds.
        metrics_timeout_s: Longest time for it to give its metrics, in seconds.
    """

    def __init__(self, anonymous: grpc.Channel, identified: grpc.Channel, *, status_timeout_s: float, metrics_timeout_s: float) -> None:
        self._status = component_service_pb2_grpc.ComponentServiceStub(anonymous)
        self._metrics = component_service_pb2_grpc.ComponentServiceStub(identified)
        self._status_timeout_s = status_timeout_s
        self._metrics_timeout_s = metrics_timeout_s

    def report(self) -> ComponentReport:
        """Asks how it is.

        Raises:
            NoAnswerError: If it does not say.
        """
        try:
            return component_report(self._status.GetComponentStatus(pb.GetComponentStatusRequest(), timeout=self._status_timeout_s))
        except grpc.RpcError as error:
            raise NoAnswerError(self._reason(error.code())) from error

    def metrics(self) -> str:
        """Asks for its Prometheus text.

        Raises:
            grpc.RpcError: If it has none to give.
        """
        text: str = self._metrics.GetComponentMetrics(pb.GetComponentMetricsRequest(), timeout=self._metrics_timeout_s).text
        return text

    def _reason(self, code: grpc.StatusCode) -> str:
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer within {self._status_timeout_s:g} s"
        if code is grpc.StatusCode.UNAVAILABLE:
            return "not reachable"
        return f"answers {code.name}"
