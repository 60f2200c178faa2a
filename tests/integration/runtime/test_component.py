from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mlops.common.v1 import component_service_pb2 as component_pb
from mlops.common.v1.component_service_pb2_grpc import ComponentServiceStub

from servers.runtime.component import Dependency, database_dependency
from tests.integration.runtime.waiting import eventually

ECHO = "mlmesh_test.v1.EchoService"


class Switch:
    """Something a server needs, which can be broken."""

    def __init__(self) -> None:
        self.is_broken = False

    def check(self) -> None:
        if self.is_broken:
            raise ConnectionError("the switch is off\nand the second line is for the log")


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def status_of() -> Callable[[Any], component_pb.ComponentStatus]:
    def read(server: Any) -> component_pb.ComponentStatus:
        with grpc.insecure_channel(server.address) as channel:
            return ComponentServiceStub(channel).GetComponentStatus(component_pb.GetComponentStatusRequest())

    return read


def readiness(server: Any, service: str = ECHO) -> int:
    with grpc.insecure_channel(server.address) as channel:
        return int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service)).status)


def test_a_server_says_who_it_is_and_how_what_it_needs_is(serve: Callable[..., Any], status_of: Any, database: Any) -> None:
    server = serve(database=database, dependencies=[database_dependency(database)])

    status = eventually(lambda: (answer := status_of(server)).dependencies and answer)

    assert (status.component, status.state, status.reason) == ("echo", component_pb.HEALTH_STATE_HEALTHY, "")
    assert status.version
    assert status.HasField("start_time")
    (dependency,) = status.dependencies
    assert (dependency.name, dependency.state) == ("database", component_pb.HEALTH_STATE_HEALTHY)
    assert dependency.latency_ms > 0


def test_without_a_required_dependency_the_services_are_not_ready_but_the_process_is_alive(
    serve: Callable[..., Any], status_of: Any, switch: Switch
) -> None:
    server = serve(dependencies=[Dependency("switch", switch.check)], settings={"dependency_interval_s": 0.05})
    eventually(lambda: readiness(server) == health_pb2.HealthCheckResponse.SERVING)

    switch.is_broken = True
    eventually(lambda: readiness(server) == health_pb2.HealthCheckResponse.NOT_SERVING)

    assert readiness(server, "") == health_pb2.HealthCheckResponse.SERVING
    status = status_of(server)
    assert status.state == component_pb.HEALTH_STATE_UNAVAILABLE
    assert status.reason == "switch: ConnectionError: the switch is off"

    switch.is_broken = False
    eventually(lambda: readiness(server) == health_pb2.HealthCheckResponse.SERVING)


def test_without_an_optional_dependency_a_server_is_degraded_and_ready(serve: Callable[..., Any], status_of: Any, switch: Switch) -> None:
    switch.is_broken = True
    server = serve(dependencies=[Dependency("switch", switch.check, is_required=False)])

    eventually(lambda: status_of(server).state == component_pb.HEALTH_STATE_DEGRADED)

    assert readiness(server) == health_pb2.HealthCheckResponse.SERVING


def test_a_dependency_that_hangs_neither_blocks_the_others_nor_piles_up_threads(
    serve: Callable[..., Any], status_of: Any, switch: Switch
) -> None:
    release, hanging = threading.Event(), []

    def hang() -> None:
        hanging.append(threading.current_thread())
        release.wait(120)

    dependencies = [Dependency("slow", hang, timeout_s=0.05), Dependency("switch", switch.check)]
    server = serve(dependencies=dependencies, settings={"dependency_interval_s": 0.05})
    try:
        status = eventually(lambda: (answer := status_of(server)).state == component_pb.HEALTH_STATE_UNAVAILABLE and answer)
        switch.is_broken = True
        eventually(lambda: "switch" in status_of(server).reason)
    finally:
        release.set()

    assert "slow: no answer within 0.05 s" in status.reason
    assert len(hanging) == 1


def test_the_time_of_the_last_change_stays_while_nothing_changes(serve: Callable[..., Any], status_of: Any, switch: Switch) -> None:
    checks = []

    def check() -> None:
        checks.append(None)
        switch.check()

    # A check that is late would be a change.
    server = serve(dependencies=[Dependency("switch", check, timeout_s=60)], settings={"dependency_interval_s": 0.02})
    first = eventually(lambda: (answer := status_of(server)).dependencies and answer)
    seen = len(checks)
    eventually(lambda: len(checks) > seen + 3)
    assert status_of(server).dependencies[0].since_time == first.dependencies[0].since_time

    switch.is_broken = True
    eventually(lambda: status_of(server).dependencies[0].since_time.ToNanoseconds() > first.dependencies[0].since_time.ToNanoseconds())


def test_a_server_waits_for_the_keys_of_the_users_server(serve: Callable[..., Any], serve_users: Any, tmp_path: Any, connect: Any) -> None:
    address = f"unix:{tmp_path}/users.sock"
    server = serve(verifier=None, settings={"users_address": address})
    assert readiness(server) == health_pb2.HealthCheckResponse.NOT_SERVING

    serve_users(listen=address)

    eventually(lambda: readiness(server) == health_pb2.HealthCheckResponse.SERVING)


def test_health_can_be_watched_by_more_callers_than_there_are_threads(serve: Callable[..., Any]) -> None:
    server = serve(settings={"worker_threads": 1})
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(service=ECHO)) for _ in range(5)]

        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.SERVING}
        server.announce_stop()
        assert {next(watch).status for watch in watches} == {health_pb2.HealthCheckResponse.NOT_SERVING}
