from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import grpc
import mlmesh
import pytest
from google.rpc import code_pb2, status_pb2
from mlmesh import errors
from mlmesh.files import Download, describe

from tests.integration.client.small_mesh import API_KEY, Scene

MIB = 1024 * 1024


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(bytes(range(256)) * (10 * 1024))  # 2.5 MiB: three pieces
    return path


def test_a_file_arrives_as_it_was(mesh: mlmesh.Mesh, scene: Scene, source: Path, tmp_path: Path) -> None:
    file = mesh.registry.upload_file(source)
    assert scene.blobs[file.digest] == source.read_bytes()
    fetched = mesh.registry.download_file(file.digest, tmp_path / "deep" / "fetched.bin")
    assert fetched.read_bytes() == source.read_bytes()


def test_what_is_stored_already_does_not_travel(mesh: mlmesh.Mesh, scene: Scene, source: Path) -> None:
    mesh.registry.upload_file(source)
    mesh.registry.upload_file(source)
    assert scene.calls["UploadBlob"] == 1


def test_what_is_there_already_is_not_fetched(mesh: mlmesh.Mesh, scene: Scene, source: Path) -> None:
    file = mesh.registry.upload_file(source)
    mesh.registry.download_file(file.digest, source)
    assert scene.calls["DownloadBlob"] == 0


def test_an_empty_file_travels_too(mesh: mlmesh.Mesh, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    file = mesh.registry.upload_file(tmp_path / "empty")
    assert scene.blobs[file.digest] == b""


def test_an_upload_goes_on_where_it_broke_off(mesh: mlmesh.Mesh, scene: Scene, source: Path) -> None:
    scene.break_upload_after = [MIB, MIB]
    file = mesh.registry.upload_file(source)
    assert scene.blobs[file.digest] == source.read_bytes()
    assert [request.offset_bytes for request in scene.requests["UploadBlob"]] == [0, MIB, 2 * MIB]


def test_an_upload_that_gets_no_further_gives_up(mesh: mlmesh.Mesh, scene: Scene, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlmesh.sync.blobs.pause", lambda _: None)
    scene.failures["UploadBlob"] = [grpc.StatusCode.UNAVAILABLE] * 100
    with pytest.raises(errors.Unavailable):
        mesh.registry.upload_file(source)
    assert scene.calls["UploadBlob"] == 6


def test_a_download_goes_on_where_it_broke_off(mesh: mlmesh.Mesh, scene: Scene, source: Path, tmp_path: Path) -> None:
    file = mesh.registry.upload_file(source)
    scene.break_download_after = [1_000_000, 1_000_000]
    fetched = mesh.registry.download_file(file.digest, tmp_path / "fetched.bin")
    assert fetched.read_bytes() == source.read_bytes()
    offsets = [request.offset_bytes for request in scene.requests["DownloadBlob"]]
    assert len(offsets) == 3
    assert offsets == sorted(set(offsets))


def test_a_download_of_an_earlier_program_is_gone_on_with(mesh: mlmesh.Mesh, scene: Scene, source: Path, tmp_path: Path) -> None:
    file = mesh.registry.upload_file(source)
    pieces = mesh.registry.download_blob(file.digest)
    target = tmp_path / "fetched.bin"
    broken_off = Download(target, file.digest)
    broken_off.open()
    for piece in itertools.islice(pieces, 500):
        broken_off.append(piece)
    broken_off.close()
    mesh.registry.download_file(file.digest, target)
    assert target.read_bytes() == source.read_bytes()
    assert scene.requests["DownloadBlob"][-1].offset_bytes == broken_off.size_bytes > 0


def test_a_file_that_arrives_damaged_is_refused(mesh: mlmesh.Mesh, scene: Scene, source: Path, tmp_path: Path) -> None:
    file = mesh.registry.upload_file(source)
    scene.damage_downloads = True
    with pytest.raises(errors.DataLoss, match="damaged on its way"):
        mesh.registry.download_file(file.digest, tmp_path / "fetched.bin")
    assert not (tmp_path / "fetched.bin").exists()


def test_a_stream_that_ends_with_an_error_raises_it(mesh: mlmesh.Mesh, scene: Scene, source: Path) -> None:
    file = mesh.registry.upload_file(source)
    scene.end_downloads_with = status_pb2.Status(code=code_pb2.DATA_LOSS, message="the disk forgot")
    with pytest.raises(errors.DataLoss, match="the disk forgot"):
        list(mesh.registry.download_blob(file.digest))


def test_progress_is_told_up_to_the_end(mesh: mlmesh.Mesh, source: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    file = mesh.registry.upload_file(source, progress=lambda *report: told.append(report))
    assert told[-1] == ("source.bin", file.size_bytes, file.size_bytes)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_folder_becomes_a_version_and_a_folder_again(mesh: mlmesh.Mesh, scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "weights" / "a.bin").write_bytes(b"a" * 10)
    (folder / "weights" / "same.bin").write_bytes(b"a" * 10)
    version = mesh.registry.push_version("toy", folder, tags={"k": "v"}, metrics={"auc": 0.5})
    assert [file.path for file in version.files] == ["config.json", "weights/a.bin", "weights/same.bin"]
    assert scene.calls["UploadBlob"] == 2
    pulled = mesh.registry.pull_version("toy", tmp_path / "pulled")
    assert pulled.version == version.version
    assert {path.name: path.read_bytes() for path in (tmp_path / "pulled").rglob("*") if path.is_file()} == {
        "config.json": b"{}",
        "a.bin": b"a" * 10,
        "same.bin": b"a" * 10,
    }


def test_a_version_with_a_file_outside_of_its_folder_is_refused(mesh: mlmesh.Mesh, scene: Scene, source: Path, tmp_path: Path) -> None:
    version = mesh.registry.push_version("toy", source)
    scene.versions[-1].files[0].path = "../../evil"
    with pytest.raises(errors.DataLoss, match="outside of"):
        mesh.registry.pull_version("toy", tmp_path / "pulled")
    assert version.files


def test_a_file_is_added_to_a_pending_version_and_read_as_a_stream(mesh: mlmesh.Mesh, scene: Scene, source: Path) -> None:
    file = mesh.registry.upload_artifact("toy", 1, "model.bin", source)
    assert (file.digest, file.path) == (describe(source, "x").digest, "model.bin")
    (first, *_) = scene.requests["UploadArtifact"]
    assert (first.model, first.version) == ("toy", 1)
    assert b"".join(mesh.registry.download_artifact("toy", 1, "model.bin")) == source.read_bytes()


def test_transfers_can_be_awaited(url: str, scene: Scene, source: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            scene.break_upload_after = [MIB]
            file = await mesh.registry.upload_file(source)
            scene.break_download_after = [1_000_000]
            await mesh.registry.download_file(file.digest, tmp_path / "fetched.bin")

    asyncio.run(scenario())
    assert (tmp_path / "fetched.bin").read_bytes() == source.read_bytes()
