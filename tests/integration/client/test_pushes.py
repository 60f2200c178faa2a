"""Which files a push sends before it knows their digest, and what comes of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc
import mlmesh
import pytest
from mlmesh import errors

from tests.integration.client.small_mesh import API_KEY, Scene, digest_of

MIB = 1024 * 1024
LARGE = 8 * MIB
TRANSFERS = ("ListModelVersions", "DownloadBlob", "CheckBlobs", "BeginUpload", "UploadBlob")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(LARGE))
    return path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlmesh.sync.blobs.pause", lambda _: None)


def calls(scene: Scene) -> dict[str, int]:
    """How often each method was called since the last look."""
    counted = {method: scene.calls[method] for method in TRANSFERS if scene.calls[method]}
    for method in TRANSFERS:
        scene.calls[method] = 0
    return counted


def test_a_large_file_of_a_new_model_is_sent_first_and_its_digest_told_last(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    version = mesh.registry.push_version("toy", large)
    assert scene.blobs[version.files[0].digest] == large.read_bytes()
    assert calls(scene) == {"ListModelVersions": 1, "BeginUpload": 2, "UploadBlob": 1}
    first, last = scene.requests["BeginUpload"]
    assert (first.digest, first.upload_id) == ("", "")
    assert (last.digest, last.size_bytes) == (digest_of(large.read_bytes()), LARGE)
    assert last.upload_id == scene.requests["UploadBlob"][0].upload_id


def test_the_same_weights_again_do_not_travel(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    versions = [mesh.registry.push_version("toy", large)]
    calls(scene)
    versions.append(mesh.registry.push_version("toy", large))
    assert calls(scene) == {"ListModelVersions": 1, "DownloadBlob": 1, "CheckBlobs": 1}
    assert versions[0].files[0] == versions[1].files[0]


def test_other_weights_of_the_same_size_are_sent_first(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    mesh.registry.push_version("toy", large)
    calls(scene)
    large.write_bytes(os.urandom(LARGE))
    version = mesh.registry.push_version("toy", large)
    assert calls(scene) == {"ListModelVersions": 1, "DownloadBlob": 1, "BeginUpload": 2, "UploadBlob": 1}
    assert scene.requests["DownloadBlob"][-1].offset_bytes == LARGE - 64 * 1024
    assert scene.blobs[version.files[0].digest] == large.read_bytes()


def test_other_weights_that_end_alike_are_asked_for_and_sent(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    mesh.registry.push_version("toy", large)
    calls(scene)
    large.write_bytes(b"another" + large.read_bytes()[7:])
    version = mesh.registry.push_version("toy", large)
    assert calls(scene) == {"ListModelVersions": 1, "DownloadBlob": 1, "CheckBlobs": 1, "BeginUpload": 1, "UploadBlob": 1}
    assert scene.blobs[version.files[0].digest] == large.read_bytes()


def test_small_files_are_asked_for_at_once(mesh: mlmesh.Mesh, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "small.bin").write_bytes(bytes(LARGE - 1))
    mesh.registry.push_version("toy", tmp_path / "small.bin")
    assert calls(scene) == {"CheckBlobs": 1, "BeginUpload": 1, "UploadBlob": 1}


def test_who_may_not_read_asks_by_the_digest(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    scene.failures["ListModelVersions"] = [grpc.StatusCode.PERMISSION_DENIED]
    mesh.registry.push_version("toy", large)
    assert calls(scene) == {"ListModelVersions": 1, "CheckBlobs": 1, "BeginUpload": 1, "UploadBlob": 1}


def test_what_cannot_be_compared_is_asked_for_by_its_digest(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    mesh.registry.push_version("toy", large)
    scene.failures["DownloadBlob"] = [grpc.StatusCode.DATA_LOSS]
    calls(scene)
    mesh.registry.push_version("toy", large)
    assert calls(scene) == {"ListModelVersions": 1, "DownloadBlob": 1, "CheckBlobs": 1}


def test_of_equal_files_in_a_folder_one_travels(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    folder = large.parent
    (folder / "copy.bin").write_bytes(large.read_bytes())
    (folder / "other.bin").write_bytes(os.urandom(LARGE + 1))
    (folder / "notes.txt").write_text("small")
    version = mesh.registry.push_version("toy", folder)
    assert [file.path for file in version.files] == ["copy.bin", "notes.txt", "other.bin", "weights.bin"]
    assert version.files[0].digest == version.files[3].digest
    assert {file.path: scene.blobs[file.digest] for file in version.files} == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert scene.calls["UploadBlob"] == 3


def test_an_upload_whose_digest_comes_last_goes_on_where_it_broke_off(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    scene.break_upload_after = [3 * MIB, 2 * MIB]
    version = mesh.registry.push_version("toy", large)
    assert scene.blobs[version.files[0].digest] == large.read_bytes()
    assert [request.offset_bytes for request in scene.requests["UploadBlob"]] == [0, 3 * MIB, 5 * MIB]
    assert len({request.upload_id for request in scene.requests["UploadBlob"]}) == 1


def test_an_upload_that_is_gone_is_begun_again(mesh: mlmesh.Mesh, scene: Scene, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.break_upload_after = [3 * MIB]
    monkeypatch.setattr("mlmesh.sync.blobs.pause", lambda _: scene.uploads.clear())
    version = mesh.registry.push_version("toy", large)
    assert scene.blobs[version.files[0].digest] == large.read_bytes()
    assert [request.offset_bytes for request in scene.requests["UploadBlob"]] == [0, 0]


def test_an_upload_that_is_gone_every_time_is_given_up(
    mesh: mlmesh.Mesh, scene: Scene, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.break_upload_after = [MIB] * 100
    monkeypatch.setattr("mlmesh.sync.blobs.pause", lambda _: scene.uploads.clear())
    with pytest.raises(errors.Unavailable):
        mesh.registry.push_version("toy", large)
    assert scene.calls["UploadBlob"] == 6


def test_a_file_that_changes_while_it_is_sent_is_refused(
    mesh: mlmesh.Mesh, scene: Scene, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.break_upload_after = [3 * MIB]

    def change(_: float) -> None:
        # The mesh was killed and lost what was not on its disk; meanwhile somebody writes to what was sent and is sent again.
        (sending,) = scene.uploads.values()
        del sending.received[2 * MIB :]
        with large.open("r+b") as file:
            file.seek(2 * MIB + 5)
            file.write(b"changed")

    monkeypatch.setattr("mlmesh.sync.blobs.pause", change)
    with pytest.raises(errors.InvalidArgument) as caught:
        mesh.registry.push_version("toy", large)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert (scene.blobs, scene.uploads, scene.versions) == ({}, {}, [])


def test_a_file_that_is_cut_while_it_is_sent_is_refused(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="was cut to") as caught:
        mesh.registry.push_version("toy", large, progress=lambda _name, done, _total: os.truncate(large, 5 * MIB) if done < LARGE else None)
    assert caught.value.reason == "FILE_CHANGED"
    assert not scene.versions


def test_a_mesh_that_stored_something_else_is_not_believed(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    scene.wrong_digests = True
    with pytest.raises(errors.DataLoss, match="which is not its digest"):
        mesh.registry.push_version("toy", large)
    assert not scene.versions


def test_progress_is_told_up_to_the_end_and_never_backwards(mesh: mlmesh.Mesh, scene: Scene, large: Path) -> None:
    told: list[int] = []
    scene.break_upload_after = [3 * MIB]
    mesh.registry.push_version("toy", large, progress=lambda _name, done, _total: told.append(done))
    assert told == sorted(told)
    assert told[-1] == LARGE


def test_a_push_can_be_awaited(url: str, scene: Scene, large: Path) -> None:
    async def scenario() -> str:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            scene.break_upload_after = [3 * MIB]
            version = await mesh.registry.push_version("toy", large)
            return version.files[0].digest

    assert scene.blobs[asyncio.run(scenario())] == large.read_bytes()
    assert calls(scene) == {"ListModelVersions": 1, "BeginUpload": 3, "UploadBlob": 2}
