"""`python -m gateway` as a process: start, death, return, stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.api import httpbody_pb2
from mlops.common.v1 import component_service_pb2 as component_pb
from mlops.common.v1.component_service_pb2_grpc import ComponentServiceStub

from gateway.admin import Admin
from gateway.control_plane.snapshot_file import read_snapshot
from gateway.settings import GatewaySettings
from servers.runtime.free_ports import free_port
from tests.integration.gateway.mesh_in_memory import (
    COMPONENTS,
    GET_MODEL,
    ComponentServer,
    Envoy,
    Keys,
    bearer,
    short_folder,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[3]
GET_JWKS = "/mlops.users.v1.UserService/GetJwks"


class MeshProcess:
    """The gateway's process and Envoy, before components in memory."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.keys = Keys()
        self.settings = GatewaySettings(
            data_dir=folder, run_dir=folder, port=free_port(), envoy_workers=1, users_address=f"unix:{folder}/users.sock"
        )
        self._environment = {
            **os.environ,
            **{f"MLMESH_{name.upper()}_ADDRESS": f"unix:{folder}/{name}.sock" for name in COMPONENTS},
            "MLMESH_DATA_DIR": str(folder),
            "MLMESH_RUN_DIR": str(folder),
            "MLMESH_PORT": str(self.settings.port),
            "MLMESH_GATEWAY_LISTEN": f"unix:{folder}/gateway.sock",
            "MLMESH_GATEWAY_ENVOY_WORKERS": "1",
            "MLMESH_GATEWAY_ACCESS_LOG": str(folder / "access.log"),
            "MLMESH_KEY_REFRESH_INTERVAL_S": "0.2",
            "MLMESH_DRAIN_S": "0",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen/python'}",
            **environment,
        }
        self.components: dict[str, ComponentServer] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.envoy: Envoy | None = None

    def start_components(self, *names: str) -> None:
        for name in names or COMPONENTS:
            self.components[name] = ComponentServer(self.folder / f"{name}.sock")
        if "users" in self.components:
            self.components["users"].component.answers[GET_JWKS] = self._jwks

    def start_control_plane(self) -> subprocess.Popen[bytes]:
        log = (self.folder / "gateway.log").open("ab")
        process = subprocess.Popen([sys.executable, "-m", "gateway"], env=self._environment, stdout=log, stderr=log, cwd=self.folder)
        log.close()
        self.processes.append(process)
        wait_until(lambda: self.is_serving() or process.poll() is not None, 60, "the gateway does not serve")
        assert process.poll() is None, (self.folder / "gateway.log").read_text()
        return process

    def start_envoy(self) -> Envoy:
        self.envoy = Envoy(self.settings)
        return self.envoy

    def is_serving(self) -> bool:
        with grpc.insecure_channel(self.settings.listen) as channel:
            try:
                ComponentServiceStub(channel).GetComponentStatus(component_pb.GetComponentStatusRequest(), timeout=1)
            except grpc.RpcError:
                return False
        return True

    def ask(self, path: str = "/api/v1/models/m", keys: Keys | None = None) -> int:
        headers = bearer((keys or self.keys).token())
        return httpx.get(f"http://127.0.0.1:{self.settings.port}{path}", headers=headers, trust_env=False).status_code

    def stop(self) -> None:
        if self.envoy is not None:
            self.envoy.stop()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(60)
        for server in self.components.values():
            server.stop()

    def _jwks(self, request: Any, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        return httpbody_pb2.HttpBody(content_type="application/json", data=self.keys.jwks().encode())


@pytest.fixture
def mesh() -> Iterator[MeshProcess]:
    with short_folder() as folder:
        process = MeshProcess(folder)
        try:
            yield process
        finally:
            process.stop()


def test_envoy_serves_on_when_the_control_plane_is_killed_and_takes_orders_again_when_it_is_back(mesh: MeshProcess) -> None:
    mesh.start_components()
    control_plane = mesh.start_control_plane()
    envoy = mesh.start_envoy()
    envoy.wait_ready()
    assert mesh.ask() == 200
    listeners = envoy.admin.stat("listener_manager.listener_create_success")

    control_plane.send_signal(signal.SIGKILL)
    control_plane.wait(60)
    wait_until(lambda: envoy.admin.stat("control_plane.connected_state") == 0)
    assert {mesh.ask() for _ in range(50)} == {200}

    rotated = Keys("k2")
    mesh.keys, old = rotated, mesh.keys
    mesh.start_control_plane()
    wait_until(lambda: envoy.admin.stat("control_plane.connected_state") == 1)
    wait_until(lambda: mesh.ask(keys=rotated) == 200)
    assert mesh.ask(keys=old) == 401
    assert envoy.admin.stat("listener_manager.listener_create_success") == listeners, "what is unchanged is not sent again"
    assert envoy.admin.stat("listener_manager.listener_modified") == 0
    assert envoy.process.poll() is None


def test_envoy_waits_for_the_control_plane_and_the_control_plane_for_the_first_keys(mesh: MeshProcess) -> None:
    mesh.start_components("registry")
    envoy = mesh.start_envoy()
    mesh.start_control_plane()

    assert not envoy.admin.is_ready()
    mesh.start_components("users", "serving", "system")

    envoy.wait_ready()
    wait_until(lambda: _answers(mesh))
    assert mesh.ask() == 200


def test_a_mesh_whose_users_server_is_away_starts_with_its_last_configuration(mesh: MeshProcess) -> None:
    mesh.start_components()
    first = mesh.start_control_plane()
    mesh.start_envoy().wait_ready()
    wait_until(lambda: read_snapshot(mesh.settings.snapshot_file) is not None)
    assert mesh.envoy is not None
    mesh.envoy.stop()
    first.terminate()
    assert first.wait(60) == 0
    mesh.components["users"].stop()

    mesh.start_control_plane()
    mesh.start_envoy().wait_ready()

    wait_until(lambda: _answers(mesh))
    assert mesh.ask() == 200


def test_sigterm_stops_the_process_soon_also_while_envoy_is_connected() -> None:
    with short_folder() as folder:
        # Whoever waited for the stream of Envoy to end would wait for all of it.
        mesh = MeshProcess(folder, MLMESH_GRACE_S="300")
        try:
            mesh.start_components()
            process = mesh.start_control_plane()
            envoy = mesh.start_envoy()
            envoy.wait_ready()

            process.terminate()

            assert process.wait(3) == 0
            assert not mesh.settings.edge_socket.exists()
            assert envoy.admin.is_ready()
        finally:
            mesh.stop()


def test_the_gateway_tells_how_it_is_and_passes_on_the_statistics_of_envoy(mesh: MeshProcess) -> None:
    mesh.start_components()
    mesh.start_control_plane()
    mesh.start_envoy().wait_ready()
    with grpc.insecure_channel(mesh.settings.listen) as channel:
        status = ComponentServiceStub(channel).GetComponentStatus(component_pb.GetComponentStatusRequest())

    assert status.component == "gateway"
    assert {dependency.name for dependency in status.dependencies} >= {"envoy", "keys"}


def test_spans_of_envoy_land_in_the_trace_file() -> None:
    with short_folder() as folder:
        mesh = MeshProcess(folder, MLMESH_TRACE_FILE=str(folder / "traces.jsonl"))
        try:
            mesh.start_components()
            mesh.start_control_plane()
            mesh.start_envoy().wait_ready()
            mesh.ask()

            def spans() -> list[dict[str, Any]]:
                path = folder / "traces.jsonl"
                # The gateway may be in the middle of the last line.
                whole_lines, _, _ = (path.read_text() if path.exists() else "").rpartition("\n")
                return [json.loads(line) for line in whole_lines.splitlines()]

            wait_until(lambda: any(span["name"] == GET_MODEL.removeprefix("/") for span in spans()))
            (span,) = (span for span in spans() if span["name"] == GET_MODEL.removeprefix("/"))
            (call,) = mesh.components["registry"].calls(GET_MODEL)
            assert call.metadata["traceparent"] == f"00-{span['trace_id']}-{span['span_id']}-01"
            assert (span["component"], span["kind"]) == ("gateway", "server")
        finally:
            mesh.stop()


def test_the_drain_command_waits_for_running_calls(mesh: MeshProcess) -> None:
    mesh.start_components()
    mesh.start_control_plane()
    mesh.start_envoy().wait_ready()
    environment = {**os.environ, "MLMESH_RUN_DIR": str(mesh.folder), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen/python'}"}

    drained = subprocess.run([sys.executable, "-m", "gateway.drain"], env=environment, timeout=60, check=False)

    assert drained.returncode == 0
    assert Admin(mesh.settings.admin_socket).stat("http.public.downstream_rq_active") == 0


def test_the_drain_command_says_where_there_is_no_envoy(tmp_path: Path) -> None:
    environment = {**os.environ, "MLMESH_RUN_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}:{ROOT / 'gen/python'}"}

    drained = subprocess.run([sys.executable, "-m", "gateway.drain"], env=environment, timeout=60, check=False, capture_output=True)

    assert drained.returncode == 2
    assert b"does not answer" in drained.stderr


def _answers(mesh: MeshProcess) -> bool:
    try:
        return bool(mesh.ask())
    except httpx.HTTPError:
        return False
