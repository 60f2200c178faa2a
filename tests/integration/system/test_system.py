"""The system monitor over real sockets: a mesh with users, registry and system, and Envoy's own metrics."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from mlops.common.v1 import component_service_pb2
from mlops.system.v1 import system_service_pb2 as pb
from mlops.system.v1.system_service_pb2_grpc import SystemMonitorServiceStub
from prometheus_client.parser import text_string_to_metric_families

from servers.runtime.server import Server
from servers.system.__main__ import build
from servers.system.settings import SystemSettings
from tests.integration.runtime.waiting import eventually
from tests.small_mesh.identity import Issuer, small_users
from tests.small_mesh.registry import SmallRegistry, small_registry_server

HEALTHY = component_service_pb2.HEALTH_STATE_HEALTHY
DEGRADED = component_service_pb2.HEALTH_STATE_DEGRADED
UNAVAILABLE = component_service_pb2.HEALTH_STATE_UNAVAILABLE


@dataclass
class Mesh:
    folder: Path
    issuer: Issuer
    registry: Server
    stub: SystemMonitorServiceStub


@pytest.fixture
def mesh(folder: Path, issuer: Issuer) -> Iterator[Mesh]:
    users, _, key_file = small_users(issuer, folder)
    registry = small_registry_server(SmallRegistry(), issuer, folder)
    settings = SystemSettings(
        data_dir=folder,
        envoy_admin_socket=folder / "envoy-admin.sock",
        listen=f"unix:{folder}/system.sock",
        users_address=f"unix:{folder}/users.sock",
        service_key_file=key_file,
        component_addresses={name: f"unix:{folder}/{name}.sock" for name in ("users", "registry", "system")},
        component_timeout_s=30,
        health_cache_s=0,
        drain_s=0,
    )
    system = build(settings, verifier=issuer.verifier())
    servers = [users, registry, system]
    for server in servers:
        server.start()
    channel = grpc.insecure_channel(system.address)
    yield Mesh(folder, issuer, registry, SystemMonitorServiceStub(channel))
    channel.close()
    for server in reversed(servers):
        server.stop()


def test_health_needs_no_token_and_tells_of_every_component(mesh):
    health = mesh.stub.GetHealth(pb.GetHealthRequest())

    assert health.state == HEALTHY
    assert [component.component for component in health.components] == ["registry", "system", "users"]
    assert all(component.version and component.HasField("start_time") for component in health.components)


def test_a_stopped_component_is_unavailable_while_the_others_are_told_of(mesh):
    mesh.stub.GetHealth(pb.GetHealthRequest())
    mesh.registry.stop()

    health = mesh.stub.GetHealth(pb.GetHealthRequest())

    by_name = {component.component: component for component in health.components}
    assert health.state == DEGRADED
    assert by_name["registry"].state == UNAVAILABLE
    assert by_name["registry"].reason == "not reachable"
    assert by_name["registry"].since_time.ToDatetime() >= by_name["registry"].start_time.ToDatetime()
    assert by_name["users"].state == HEALTHY
    assert str(mesh.folder) not in str(health), "anyone may read it, so it has no addresses"


def test_health_answers_many_callers_at_the_same_time(mesh):
    answers: list[int] = []
    callers = [threading.Thread(target=lambda: answers.append(mesh.stub.GetHealth(pb.GetHealthRequest()).state)) for _ in range(40)]

    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)

    assert answers == [HEALTHY] * 40


def test_metrics_need_the_permission(mesh):
    with pytest.raises(grpc.RpcError) as anonymous:
        mesh.stub.GetMetrics(pb.GetMetricsRequest())
    with pytest.raises(grpc.RpcError) as unprivileged:
        mesh.stub.GetMetrics(pb.GetMetricsRequest(), metadata=mesh.issuer.bearer({"default": ["registry.models.read"]}))

    assert anonymous.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert unprivileged.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_metrics_of_the_whole_mesh_are_one_valid_text_that_counts_a_shared_process_once(mesh):
    body = mesh.stub.GetMetrics(pb.GetMetricsRequest(), metadata=mesh.issuer.bearer())

    families = {family.name: family for family in text_string_to_metric_families(body.data.decode())}
    memory = families["process_resident_memory_bytes"].samples
    calls = {sample.labels["component"] for sample in families["grpc_server_handled"].samples}
    assert body.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert [sample.labels["component"] for sample in memory] == ["registry,system,users"]
    assert {"users", "system"} <= calls
    assert len(families) == body.data.decode().count("# TYPE")


def test_a_component_that_is_away_is_told_as_down_beside_the_metrics_of_the_others(mesh):
    mesh.registry.stop()

    body = mesh.stub.GetMetrics(pb.GetMetricsRequest(), metadata=mesh.issuer.bearer())

    families = {family.name: family for family in text_string_to_metric_families(body.data.decode())}
    up = {sample.labels["component"]: sample.value for sample in families["mlmesh_component_up"].samples}
    assert up == {"envoy": 0, "registry": 0, "system": 1, "users": 1}


def test_workers_of_a_component_are_told_of_as_one_with_series_of_their_own(folder, issuer):
    users, _, key_file = small_users(issuer, folder)
    for number in (1, 2):
        (folder / str(number)).mkdir()
    registries = [small_registry_server(SmallRegistry(), issuer, folder / str(number)) for number in (1, 2)]
    settings = SystemSettings(
        data_dir=folder,
        listen=f"unix:{folder}/system.sock",
        users_address=f"unix:{folder}/users.sock",
        service_key_file=key_file,
        component_addresses={"registry": f"unix:{folder}/1/registry.sock"},
        worker_addresses={"registry": [f"unix:{folder}/2/registry.sock"]},
        component_timeout_s=30,
        health_cache_s=0,
        drain_s=0,
    )
    system = build(settings, verifier=issuer.verifier())
    servers = [users, *registries, system]
    for server in servers:
        server.start()
    with grpc.insecure_channel(system.address) as channel:
        stub = SystemMonitorServiceStub(channel)
        whole = stub.GetHealth(pb.GetHealthRequest())
        text = stub.GetMetrics(pb.GetMetricsRequest(), metadata=issuer.bearer()).data.decode()
        registries[0].stop()
        one_away = stub.GetHealth(pb.GetHealthRequest())
    for server in reversed(servers):
        server.stop()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    series = [(sample.name, *sorted(sample.labels.items())) for family in families.values() for sample in family.samples]
    up = {(sample.labels["component"], sample.labels["worker"]): sample.value for sample in families["mlmesh_component_up"].samples}
    assert whole.state == HEALTHY
    assert up == {("registry", "1"): 1, ("registry", "2"): 1}
    assert len(series) == len(set(series))
    assert (one_away.components[0].state, one_away.components[0].reason) == (DEGRADED, "worker 1: not reachable")


@pytest.fixture
def envoy(folder: Path) -> Iterator[Path]:
    program = Path(sys.executable).with_name("envoy")
    socket = folder / "envoy-admin.sock"
    bootstrap = folder / "envoy.json"
    bootstrap.write_text(json.dumps({"admin": {"address": {"pipe": {"path": str(socket)}}}}))
    command = [str(program if program.exists() else shutil.which("envoy")), "--config-path", str(bootstrap), "--use-dynamic-base-id"]
    process = subprocess.Popen([*command, "--concurrency", "1", "--log-level", "error"])
    yield socket
    process.terminate()
    process.wait(60)


def test_the_gateways_metrics_are_among_them(envoy, mesh):
    def up() -> float:
        text = mesh.stub.GetMetrics(pb.GetMetricsRequest(), metadata=mesh.issuer.bearer()).data.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert len(families) == text.count("# TYPE")
        if families["mlmesh_component_up"].samples[0].value:
            assert {sample.labels["component"] for sample in families["envoy_server_live"].samples} == {"envoy"}
        return float(families["mlmesh_component_up"].samples[0].value)

    eventually(up)
