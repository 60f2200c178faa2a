"""kill -9 at any point of a save leaves a whole version or none, and the next save goes on."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.s3 import S3Server
from model_management import Retention, VersionState
from model_management.catalog import ModelCatalog
from tests.kill_points import kill_at, points_of
from tests.real_servers.mariadb import MariadbServer
from tests.registry_racer import RegistrySpec, small_file


@pytest.fixture
def json_spec(tmp_path: Path) -> RegistrySpec:
    return RegistrySpec("local", {"path": tmp_path / "registry"})


@pytest.fixture
def sqlite_spec(tmp_path: Path) -> RegistrySpec:
    return RegistrySpec("database", {"path": tmp_path / "registry"})


@pytest.fixture
def postgresql_spec(postgresql: PostgresqlServer, s3: S3Server, tmp_path: Path) -> RegistrySpec:
    return with_s3(postgresql.new_database(), s3, tmp_path)


@pytest.fixture
def mariadb_spec(mariadb: MariadbServer, s3: S3Server, tmp_path: Path) -> RegistrySpec:
    return with_s3(mariadb.new_database(), s3, tmp_path)


def with_s3(url: str, s3: S3Server, folder: Path) -> RegistrySpec:
    options = {"path": folder, "url": url, "storage": s3.url(uuid.uuid4().hex), "storage_credentials": s3.credentials}
    return RegistrySpec("database", options)


@pytest.mark.parametrize(
    "combination", ["json_spec", "sqlite_spec", "postgresql_spec", pytest.param("mariadb_spec", marks=pytest.mark.system_package)]
)
def test_kill_at_any_point_leaves_a_whole_version_or_none(request: pytest.FixtureRequest, combination: str, tmp_path: Path):
    spec: RegistrySpec = request.getfixturevalue(combination)
    source = tmp_path / "source"
    save(spec, source, "first")
    points = points_of(partial(save, spec, source, "second"))
    assert len(points) > 20, points
    outcomes = set()
    versions = 2
    # A save has a point more where its blob needs a new folder, so the last points are tried a few times more.
    for attempt, point in enumerate([*range(1, len(points) + 1), *range(len(points) - 3, len(points) + 1)] + [len(points)] * 4):
        killed = kill_at(partial(save, spec, source, f"at {attempt}"), point)
        found = check_whole(spec)
        assert found - versions in {0, 1}, points[point - 1]
        outcomes.add((killed, found - versions))
        versions = found
    # Some kills came before the version was there, some after; every other way is covered by `check_whole`.
    assert {(True, 0), (True, 1)} <= outcomes
    save(spec, source, "last")
    assert check_whole(spec) == versions + 1
    assert leftovers_are_garbage(spec)


def save(spec: RegistrySpec, source: Path, content: str) -> None:
    """Save a version whose file and tag are the content."""
    with spec.open() as registry:
        registry.save_model(small_file(source, content), "m", "d", tags={"content": content}, metrics={"x": 1.0})


def check_whole(spec: RegistrySpec) -> int:
    """Find every version complete, and return how many there are."""
    with spec.open() as registry:
        versions = list(registry.search_versions(order_by="version", name="m", filter=""))
        assert [version.version for version in versions] == list(range(1, len(versions) + 1))
        newest = versions[-1]
        assert {version.state for version in versions} == {VersionState.READY}
        assert ModelCatalog(registry.metadata_backend.backend, registry.storage.blobs).verify_version(newest).is_intact
        assert registry.get_model("m").latest_version == newest.version
        assert registry.get_model("m").tags == newest.tags
        if "content" in newest.tags:
            assert (registry.load_model("m") / "weights.txt").read_text() == newest.tags["content"]
        return len(versions)


def leftovers_are_garbage(spec: RegistrySpec) -> bool:
    """Collect what the killed saves left, and find exactly what versions need."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with spec.open(clock=lambda: tomorrow, retention=Retention(grace=timedelta(hours=1))) as registry:
        registry.collect_garbage()
        needed = {entry.digest for version in registry.search_versions() for entry in version.files}
        return {blob.digest for blob in registry.storage.blobs.iterate()} == needed
