from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from servers import mesh
from servers.mesh import CannotStart, run_mesh
from servers.run_lock import exclusive
from servers.topology import Place


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    # Short, unlike `tmp_path` may be: where the path of a Unix socket would grow too long, `run` is not in the data directory.
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        yield Path(folder)


def test_a_port_in_use_is_refused_and_named(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(CannotStart, match=f"port {taken_port} of 127.0.0.1 is in use; choose another with --port"):
        run_mesh(tmp_path, "127.0.0.1", taken_port, on_started=lambda _: None)


def test_an_address_that_is_not_ours_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"port 8080 of 203\.0\.113\.7 cannot be served on"):
        run_mesh(tmp_path, "203.0.113.7", 8080, on_started=lambda _: None)


def test_a_second_mesh_on_a_data_directory_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "mesh.lock"),
        pytest.raises(CannotStart, match=f"already \\(process {os.getpid()}\\); stop it with `mlmesh down`"),
    ):
        run_mesh(tmp_path, "127.0.0.1", 0, on_started=lambda _: None)


def test_a_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / "mesh.lock"):
            pass


def test_whoever_only_looks_whether_a_mesh_runs_does_not_keep_one_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.run_lock._PATIENCE_S", 60)  # who looks may be asleep for a moment
    path = tmp_path / "mesh.lock"
    path.touch()
    looking = os.open(path, os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, [looking]).start()
    with exclusive(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_data_directory_that_cannot_be_made_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"cannot make .*/file/data: Not a directory; choose another --data-dir"):
        run_mesh(tmp_path / "file" / "data", "127.0.0.1", 0, on_started=lambda _: None)


def test_a_socket_folder_that_others_may_enter_is_refused(data_dir: Path) -> None:
    (data_dir / "run").mkdir(mode=0o755)
    (data_dir / "run").chmod(0o755)
    with pytest.raises(CannotStart, match="run has to be a folder of yours that nobody else may enter"):
        run_mesh(data_dir, "127.0.0.1", 0, on_started=lambda _: None)


def test_a_wrong_setting_of_the_supervisor_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_MESH_STOP_GRACE_S", "soon")
    with pytest.raises(CannotStart, match="stop_grace_s"):
        run_mesh(tmp_path, "127.0.0.1", 0, on_started=lambda _: None)


@pytest.mark.parametrize("count", ["0", "65", "two", "-1", "1.5"])
def test_a_number_of_serving_workers_that_is_none_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("MLMESH_SERVING_WORKERS", count)
    with pytest.raises(CannotStart, match="MLMESH_SERVING_WORKERS is a number of processes, 1 to 64"):
        run_mesh(tmp_path, "127.0.0.1", 0, on_started=lambda _: None)


def test_the_data_directory_is_closed_to_others(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(CannotStart):
        run_mesh(tmp_path / "fresh", "127.0.0.1", taken_port, on_started=lambda _: None)
    folders = [tmp_path / "fresh", tmp_path / "fresh" / "secrets", tmp_path / "fresh" / "logs", Place.of(tmp_path / "fresh").run_dir]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}


def test_children_import_the_platform_before_what_the_user_has_on_the_path() -> None:
    path = mesh._python_path({"PYTHONPATH": "/mine"}).split(os.pathsep)
    assert Path(path[0], "servers", "topology.py").exists()
    assert path[-1] == "/mine"


@pytest.fixture
def front_door() -> Iterator[tuple[str, dict[str, object]]]:
    """A mesh that says of itself whatever the test wants it to say."""
    says: dict[str, object] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(says).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", says
        server.shutdown()


def test_a_mesh_is_started_once_it_says_itself_that_all_of_it_is_healthy(front_door: tuple[str, dict[str, object]]) -> None:
    url, says = front_door
    ill = {"component": "gateway", "state": "HEALTH_STATE_DEGRADED", "reason": "keys: they have not come"}
    says.update(state="HEALTH_STATE_DEGRADED", components=[ill])

    async def scenario() -> None:
        waiting = asyncio.create_task(mesh._become_healthy(url, 60))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        says.update(state="HEALTH_STATE_HEALTHY", components=[])
        await waiting

    asyncio.run(scenario())


def test_a_mesh_that_stays_ill_is_refused_with_the_reason_of_each_component(front_door: tuple[str, dict[str, object]]) -> None:
    url, says = front_door
    ill = {"component": "registry", "state": "HEALTH_STATE_DEGRADED", "reason": "blobs: disk full"}
    says.update(state="HEALTH_STATE_DEGRADED", components=[ill])
    with pytest.raises(CannotStart, match=r"not healthy within 2 s: registry: blobs: disk full"):
        asyncio.run(mesh._become_healthy(url, 2))


def test_a_front_door_that_does_not_open_is_said() -> None:
    with pytest.raises(CannotStart, match="api/v1/health"):
        asyncio.run(mesh._become_healthy("http://127.0.0.1:1", 2))
