"""Between the messages of the contract and the domain."""

from __future__ import annotations

from datetime import UTC, datetime

from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2
from mlops.common.v1 import component_service_pb2
from mlops.system.v1 import system_service_pb2

from servers.system.exposition import CONTENT_TYPE
from servers.system.health import without_addresses
from servers.system.reports import ComponentReport, DependencyReport, Health, MeshReport

_PREFIX = "HEALTH_STATE_"


def health_response(report: MeshReport, version: str) -> system_service_pb2.GetHealthResponse:
    """How the mesh is."""
    response = system_service_pb2.GetHealthResponse(
        state=_state_number(report.state), version=version, components=[component_status(component) for component in report.components]
    )
    response.check_time.FromDatetime(report.checked_at)
    return response


def metrics_body(text: str) -> httpbody_pb2.HttpBody:
    """The metrics of the mesh."""
    return httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=text.encode())


def component_status(report: ComponentReport) -> component_service_pb2.ComponentStatus:
    """How one component is."""
    status = component_service_pb2.ComponentStatus(
        component=report.component,
        version=report.version,
        state=_state_number(report.state),
        reason=report.reason,
        dependencies=[_dependency_status(dependency) for dependency in report.dependencies],
    )
    if report.start_time is not None:
        status.start_time.FromDatetime(report.start_time)
    status.since_time.FromDatetime(report.since)
    return status


def component_report(status: component_service_pb2.ComponentStatus) -> ComponentReport:
    """What a component said; the opposite of `component_status`."""
    return ComponentReport(
        component=status.component,
        version=status.version,
        state=_state(status.state),
        reason=without_addresses(status.reason),
        start_time=_time(status.start_time) if status.HasField("start_time") else None,
        since=_time(status.since_time),
        dependencies=tuple(_dependency_report(dependency) for dependency in status.dependencies),
    )


def _dependency_status(report: DependencyReport) -> component_service_pb2.DependencyStatus:
    status = component_service_pb2.DependencyStatus(
        name=report.name, state=_state_number(report.state), reason=report.reason, latency_ms=report.latency_ms
    )
    status.since_time.FromDatetime(report.since)
    return status


def _dependency_report(status: component_service_pb2.DependencyStatus) -> DependencyReport:
    return DependencyReport(
        status.name, _state(status.state), without_addresses(status.reason), _time(status.since_time), status.latency_ms
    )


def _state_number(state: Health) -> component_service_pb2.HealthState.ValueType:
    return component_service_pb2.HealthState.Value(f"{_PREFIX}{state.value}")


def _state(number: component_service_pb2.HealthState.ValueType) -> Health:
    """A state; what a newer component says and this server does not know counts as degraded."""
    known = component_service_pb2.HealthState.DESCRIPTOR.values_by_number.get(number)
    name = known.name.removeprefix(_PREFIX) if known is not None else ""
    return Health(name) if name in Health.__members__ else Health.DEGRADED


def _time(message: timestamp_pb2.Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
