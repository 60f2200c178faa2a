"""Uploads to a whole mesh: over HTTP and gRPC, through networks that break, and refused in every way there is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlmesh
import psutil
import pytest
from mlmesh import errors
from mlops.registry.v1 import registry_service_pb2

from tests.integration.client.cutting_proxy import CuttingProxy
from tests.whole_mesh import WholeMesh, whole_mesh

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def running() -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_REGISTRY_MAX_FILE_BYTES": str(256 * MIB)}) as running:
        yield running


@pytest.fixture
def mesh(running: WholeMesh) -> Iterator[mlmesh.Mesh]:
    with running.client() as mesh:
        yield mesh


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(24 * MIB))
    return path


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def count_by_grpc(mesh: mlmesh.Mesh, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Lists the uploads that go by gRPC from now on."""
    seen: list[object] = []
    caller = mesh.registry._caller
    upload = caller.upload

    def counted(*arguments: object, **more: object) -> object:
        seen.append(arguments)
        return upload(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(caller, "upload", counted)
    return seen


def eventually(condition: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + 60, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        tick.wait(0.02)


def stored_bytes(running: WholeMesh) -> int:
    """How much is stored of uploads under way."""
    total = 0
    # Not by `rglob`, which fails where a folder goes while it looks, as that of an upload does in the end.
    for folder, _, files in os.walk(running.data_dir):
        if "data" in files and Path(folder).parent.name == "uploads":
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / "data").stat().st_size
    return total


def test_a_large_file_goes_by_http_and_comes_back(mesh: mlmesh.Mesh, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_grpc = count_by_grpc(mesh, monkeypatch)
    version = mesh.registry.push_version("plain", large)
    assert version.files[0].digest == digest_of(large)
    mesh.registry.pull_version("plain", tmp_path / "pulled")
    assert (tmp_path / "pulled" / "weights.bin").read_bytes() == large.read_bytes()
    assert by_grpc == []


def test_what_the_client_states_first_is_verified_over_http_too(mesh: mlmesh.Mesh, large: Path) -> None:
    upload = mesh.registry.begin_upload(f"sha256:{'0' * 64}", 24 * MIB)
    with pytest.raises(errors.InvalidArgument) as caught:
        mesh.registry.upload_blob(upload, large)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert caught.value.metadata["actual"] == digest_of(large)


def test_a_server_inside_of_a_mesh_gets_its_bytes_by_grpc(running: WholeMesh, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (socket_path,) = running.data_dir.rglob("registry.sock")
    with mlmesh.connect(f"unix:{socket_path}", token=running.token) as direct:
        by_grpc = count_by_grpc(direct, monkeypatch)
        assert direct.registry.upload_file(large).digest == digest_of(large)
        assert len(by_grpc) == 1


@pytest.mark.parametrize("way", ["http", "grpc", "http, awaited"])
def test_what_is_stored_already_is_not_sent_again_after_a_cut(running: WholeMesh, large: Path, way: str) -> None:
    host, port = running.target.split(":")
    before = stored_bytes(running)
    with CuttingProxy((host, int(port)), hold_after_bytes=16 * MIB) as network, ThreadPoolExecutor(1) as threads:
        pushed = threads.submit(push, network.url, running.token, large, way)
        assert network.holds.wait(60)
        eventually(lambda: stored_bytes(running) >= before + 6 * MIB)
        network.cut()
        digest = pushed.result(120)
        # Not 24: what was stored when the network was cut stays, and a MiB is more than all heads and frames.
        assert 0 < network.bytes_since_cut <= (24 - 6 + 1) * MIB
    assert digest == digest_of(large)
    assert stored_bytes(running) == before


def push(url: str, token: str, path: Path, way: str) -> str:
    async def awaited() -> str:
        async with mlmesh.connect_async(url, token=token) as mesh:
            return (await mesh.registry.push_version("cut", path)).files[0].digest

    if way == "http, awaited":
        return asyncio.run(awaited())
    with mlmesh.connect(url, token=token) as mesh:
        if way == "grpc":
            mesh.registry._http = None
        return mesh.registry.push_version("cut", path).files[0].digest


def test_an_upload_that_is_cancelled_stops(running: WholeMesh, large: Path) -> None:
    host, port = running.target.split(":")

    async def scenario(url: str) -> None:
        async with mlmesh.connect_async(url, token=running.token) as mesh:
            pushing = asyncio.create_task(mesh.registry.push_version("cancelled", large))
            await asyncio.to_thread(network.holds.wait, 60)
            pushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pushing
            with pytest.raises(errors.NotFound):
                await mesh.registry.get_model("cancelled")

    with CuttingProxy((host, int(port)), hold_after_bytes=4 * MIB) as network:
        asyncio.run(asyncio.wait_for(scenario(network.url), 60))


# A server may refuse long before the body is complete: what it says has to arrive, instead of a broken pipe.


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A file that fits into no buffer on its way."""
    path = tmp_path / "long.bin"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    return path


def as_if(upload: registry_service_pb2.Upload, **fields: object) -> registry_service_pb2.Upload:
    """What a client that is wrong about an upload takes it for."""
    return registry_service_pb2.Upload(**{"id": upload.id, "size_bytes": 64 * MIB, **fields})  # type: ignore[arg-type]


def test_more_bytes_than_were_announced_are_refused(mesh: mlmesh.Mesh, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_grpc = count_by_grpc(mesh, monkeypatch)
    upload = mesh.registry.begin_upload("", 2 * MIB)
    with pytest.raises(errors.InvalidArgument, match="larger than 2,097,152 bytes") as caught:
        mesh.registry.upload_blob(as_if(upload), long)
    assert caught.value.reason == "BLOB_REFUSED"
    assert by_grpc == []


def test_a_file_larger_than_the_server_takes_is_refused_before_a_byte_is_sent(mesh: mlmesh.Mesh, tmp_path: Path) -> None:
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(256 * MIB + 1)
    with pytest.raises(errors.InvalidArgument) as caught:
        mesh.registry.push_version("huge", tmp_path / "huge.bin")
    assert [violation.field for violation in caught.value.field_violations] == ["size_bytes"]


def test_another_offset_is_refused_with_the_right_one(mesh: mlmesh.Mesh, long: Path) -> None:
    upload = mesh.registry.begin_upload("", 64 * MIB)
    with pytest.raises(errors.FailedPrecondition) as caught:
        mesh.registry.upload_blob(as_if(upload, offset_bytes=5), long)
    assert (caught.value.reason, caught.value.metadata["current_offset"]) == ("UPLOAD_OFFSET_MISMATCH", "0")


@pytest.mark.parametrize("upload_id", ["0" * 32, "no upload/has such: an id?"])
def test_an_upload_that_is_unknown_is_not_found(mesh: mlmesh.Mesh, long: Path, upload_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_grpc = count_by_grpc(mesh, monkeypatch)
    with pytest.raises(errors.NotFound) as caught:
        mesh.registry.upload_blob(registry_service_pb2.Upload(id=upload_id, size_bytes=64 * MIB), long)
    assert caught.value.reason == "UPLOAD_NOT_FOUND"
    assert caught.value.request_id
    assert by_grpc == []


def test_who_may_only_read_may_not_upload(running: WholeMesh, mesh: mlmesh.Mesh, long: Path) -> None:
    key = mesh.users.create_api_key("reader", scopes=["registry.models.read"])
    upload = mesh.registry.begin_upload("", 64 * MIB)
    with mlmesh.connect(running.url, api_key=key.secret) as reader, pytest.raises(errors.PermissionDenied) as caught:
        reader.registry.upload_blob(upload, long)
    assert caught.value.reason == "PERMISSION_DENIED"
    assert mesh.registry.begin_upload("", 64 * MIB, upload_id=upload.id).offset_bytes == 0


def test_a_token_that_is_none_is_refused(running: WholeMesh, long: Path) -> None:
    with mlmesh.connect(running.url, token="nonsense") as stranger, pytest.raises(errors.Unauthenticated) as caught:
        stranger.registry.upload_blob(registry_service_pb2.Upload(id="0" * 32, size_bytes=64 * MIB), long)
    assert caught.value.reason == "TOKEN_MALFORMED"


def test_a_request_that_breaks_the_rules_of_the_contract_names_the_field(mesh: mlmesh.Mesh, long: Path) -> None:
    upload = mesh.registry.begin_upload("", 64 * MIB)
    with pytest.raises(errors.InvalidArgument) as caught:
        mesh.registry.upload_blob(upload, long, project="No Project")
    assert [violation.field for violation in caught.value.field_violations] == ["project"]


def test_a_deadline_that_is_too_short_is_exceeded(mesh: mlmesh.Mesh, long: Path) -> None:
    upload = mesh.registry.begin_upload("", 64 * MIB)
    with pytest.raises(errors.DeadlineExceeded):
        mesh.registry.upload_blob(upload, long, timeout_s=1e-6)


def test_a_full_disk_is_said_and_the_upload_goes_on_when_there_is_room(running: WholeMesh, mesh: mlmesh.Mesh, long: Path) -> None:
    upload = mesh.registry.begin_upload("", 64 * MIB)
    server = server_of(running)
    before = server.rlimit(psutil.RLIMIT_FSIZE)
    server.rlimit(psutil.RLIMIT_FSIZE, (4 * MIB, before[1]))
    try:
        with pytest.raises(errors.ResourceExhausted) as caught:
            mesh.registry.upload_blob(upload, long)
    finally:
        server.rlimit(psutil.RLIMIT_FSIZE, before)
    assert caught.value.reason == "STORAGE_FULL"
    again = mesh.registry.begin_upload("", 64 * MIB, upload_id=upload.id)
    assert again.offset_bytes <= 4 * MIB
    assert mesh.registry.upload_blob(again, long).offset_bytes == 64 * MIB
    assert mesh.registry.begin_upload(digest_of(long), 64 * MIB, upload_id=upload.id).complete


def server_of(running: WholeMesh) -> psutil.Process:
    """The process that the registry server runs in."""
    (socket_path,) = running.data_dir.rglob("registry.sock")
    return next(
        process
        for process in running.processes()
        if any(connection.laddr == str(socket_path) for connection in process.net_connections("unix"))
    )
