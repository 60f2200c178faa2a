"""Files that arrive one by one, retention and garbage, on each combination of metadata and files."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.s3 import S3Server
from tests.collection_behaviour import CollectionBehaviour
from tests.real_servers.mariadb import MariadbServer
from tests.registry_racer import RegistrySpec


class TestJsonWithFolder(CollectionBehaviour):
    @pytest.fixture
    def spec(self, tmp_path: Path) -> RegistrySpec:
        return RegistrySpec("local", {"path": tmp_path / "registry"})


class TestSqliteWithFolder(CollectionBehaviour):
    @pytest.fixture
    def spec(self, tmp_path: Path) -> RegistrySpec:
        return RegistrySpec("database", {"path": tmp_path / "registry"})


class TestPostgresqlWithS3(CollectionBehaviour):
    @pytest.fixture
    def spec(self, postgresql: PostgresqlServer, s3: S3Server, tmp_path: Path) -> RegistrySpec:
        return spec_with_s3(postgresql.new_database(), s3, tmp_path)


@pytest.mark.system_package
class TestMariadbWithS3(CollectionBehaviour):
    @pytest.fixture
    def spec(self, mariadb: MariadbServer, s3: S3Server, tmp_path: Path) -> RegistrySpec:
        return spec_with_s3(mariadb.new_database(), s3, tmp_path)


def spec_with_s3(url: str, s3: S3Server, folder: Path) -> RegistrySpec:
    # The grace period of a collection has to be longer than a blob goes unrenewed.
    storage = f"{s3.url(uuid.uuid4().hex)}&renew_after_s=1"
    options = {"path": folder, "url": url, "storage": storage, "storage_credentials": s3.credentials}
    return RegistrySpec("database", options)
