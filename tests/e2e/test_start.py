"""What the first start gives, and what an idle mesh costs."""

from __future__ import annotations

import re
import stat

import psutil

from tests.whole_mesh import WholeMesh, run_mlmesh

MAX_IDLE_BYTES = 500_000_000


def test_the_first_start_prints_a_password_once_that_works(mesh: WholeMesh) -> None:
    found = re.search(r"user admin, password (\S+)", mesh.printed)
    assert found
    login = mesh.request("POST", "/api/v1/auth/login", token=None, json={"username": "admin", "password": found.group(1)})
    assert login.status_code == 200
    assert login.json()["access_token"]
    for process in ("control", "serving", "gateway", "envoy"):
        assert found.group(1) not in mesh.logs(process)
    assert not (mesh.data_dir / "secrets" / "initial-admin-password").exists()


def test_secrets_are_for_their_owner_only(mesh: WholeMesh) -> None:
    for path in (mesh.data_dir, mesh.data_dir / "token", *(mesh.data_dir / "secrets").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_status_says_that_every_component_is_healthy(mesh: WholeMesh) -> None:
    body = mesh.request("GET", "/api/v1/health", token=None).json()
    assert body["state"] == "HEALTH_STATE_HEALTHY", body
    components = {component["component"] for component in body["components"]}
    assert components == {"features", "gateway", "ingestion", "processing", "registry", "serving", "system", "users"}
    assert run_mlmesh("status", "--data-dir", str(mesh.data_dir)).returncode == 0


def test_metrics_cover_every_component_and_envoy(mesh: WholeMesh) -> None:
    text = mesh.request("GET", "/api/v1/metrics").text
    for component in ("features", "ingestion", "processing", "registry", "serving", "system", "users"):
        assert f'component="{component}"' in text
    assert "envoy_cluster_upstream_rq" in text


def test_the_whole_mesh_takes_less_than_500_mb_at_rest(idle_bytes: int) -> None:
    assert idle_bytes < MAX_IDLE_BYTES


def test_nothing_listens_beyond_loopback(mesh: WholeMesh) -> None:
    listening = [
        connection.laddr.ip
        for process in mesh.processes()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


def test_the_documentation_page_needs_nothing_from_elsewhere(mesh: WholeMesh) -> None:
    page = mesh.request("GET", "/docs", token=None)
    assert page.status_code == 200
    assert "https://" not in page.text
