"""A full disk is a clean error, wherever it is met, and leaves nothing half-written."""

from __future__ import annotations

import resource
import signal
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import event

from model_management import ModelRegistry, VersionState
from model_management.errors import StorageFull
from model_management.metadata.operations import LocalBackend
from model_management.metadata.sql import SqlStore
from model_management.model import FileEntry, NewVersion
from sql_engine import connect
from tests.kill_points import full_at, points_of
from tests.registry_racer import RegistrySpec, small_file


@pytest.fixture(params=["local", "database"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> RegistrySpec:
    return RegistrySpec(request.param, {"path": tmp_path / "registry"})


def save(spec: RegistrySpec, source: Path, content: str) -> None:
    with spec.open() as registry:
        registry.save_model(source, "m", tags={"content": content})


def save_with_little_room(spec: RegistrySpec, source: Path) -> None:
    with spec.open() as registry:
        registry.metadata_backend.backend.check()
        make_large_files_impossible(1_000_000)
        registry.save_model(source, "m")


def save_until_full(spec: RegistrySpec, source: Path) -> None:
    make_large_files_impossible(20_000)
    with spec.open() as registry:
        while True:
            registry.save_model(small_file(source, "x"), "m")


def make_large_files_impossible(size_bytes: int) -> None:
    # The system's own limit on the size of a file is the nearest thing to a small disk that needs no root.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def whole_versions(registry: ModelRegistry) -> int:
    """Find every version complete and loadable, and return how many there are."""
    versions = list(registry.search_versions(order_by="version", name="m"))
    assert [version.version for version in versions] == list(range(1, len(versions) + 1))
    assert {version.state for version in versions} == {VersionState.READY}
    assert (registry.load_model("m") / "weights.txt").exists()
    return len(versions)


def test_a_disk_that_is_full_at_any_point_of_a_save_is_a_clean_error(spec, tmp_path):
    source = tmp_path / "source"
    small_file(source, "first")
    save(spec, source, "first")
    points = points_of(partial(save, spec, source, "second"))
    versions, refusals = 2, 0
    for point in range(1, len(points) + 1):
        small_file(source, f"at {point}")
        refused = full_at(partial(save, spec, source, f"at {point}"), point, StorageFull)
        with spec.open() as registry:
            found = whole_versions(registry)
        assert found == versions + (not refused), points[point - 1]
        versions = found
        refusals += refused
    assert refusals > 8
    save(spec, source, "last")
    with spec.open() as registry:
        assert whole_versions(registry) == versions + 1
    assert list((Path(spec.options["path"]) / "tmp").iterdir()) == []


def test_a_file_that_does_not_fit_is_refused_and_leaves_no_blob(spec, tmp_path):
    source = tmp_path / "source"
    small_file(source, "fits")
    with spec.open() as registry:
        registry.save_model(source, "m")
        stored = {blob.digest for blob in registry.storage.blobs.iterate()}
    (source / "large.bin").write_bytes(b"x" * 3_000_000)
    assert full_at(partial(save_with_little_room, spec, source), 0, StorageFull)
    with spec.open() as registry:
        assert whole_versions(registry) == 1
        assert {blob.digest for blob in registry.storage.blobs.iterate()} == stored


def test_a_database_that_is_full_is_a_clean_error_and_goes_on_when_there_is_room(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/registry.db")
    backend = LocalBackend(SqlStore(engine))
    limits = {"pages": 1_000_000}

    @event.listens_for(engine, "begin")
    def limit(connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limits['pages']}")

    new = NewVersion(files=(FileEntry("a", f"sha256:{'0' * 64}", 1),), model_card="x" * 50_000)
    assert backend.create_version("default", "m", new, create_model=True).version == 1
    with engine.connect() as connection:
        limits["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar() + 2
    with pytest.raises(StorageFull, match="metadata"):
        backend.create_version("default", "m", new)
    assert backend.get_model("default", "m").version_count == 1
    limits["pages"] = 1_000_000
    assert backend.create_version("default", "m", new).version == 2
    backend.close()


def test_a_log_that_cannot_grow_is_a_clean_error_and_is_not_damaged(tmp_path):
    spec = RegistrySpec("local", {"path": tmp_path / "registry"})
    assert full_at(partial(save_until_full, spec, tmp_path / "source"), 0, StorageFull)
    with spec.open() as registry:
        saved = whole_versions(registry)
        assert saved > 3
        assert registry.save_model(small_file(tmp_path / "source", "x"), "m").version == saved + 1
