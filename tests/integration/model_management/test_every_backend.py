"""The shared class on each combination of metadata and files that the library itself brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.s3 import S3Server
from tests.real_servers.mariadb import MariadbServer
from tests.registry_behaviour import RegistryBehaviour
from tests.registry_racer import RegistrySpec


class TestJsonWithFolder(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
        return RegistrySpec("local", {"path": tmp_path_factory.mktemp("json")})


class TestSqliteWithFolder(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
        return RegistrySpec("database", {"path": tmp_path_factory.mktemp("sqlite")})


class TestPostgresqlWithS3(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, postgresql: PostgresqlServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
        return spec_with_s3(postgresql.new_database(), s3, tmp_path_factory.mktemp("postgresql"))


@pytest.mark.system_package
class TestMariadbWithS3(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, mariadb: MariadbServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
        return spec_with_s3(mariadb.new_database(), s3, tmp_path_factory.mktemp("mariadb"))


def spec_with_s3(url: str, s3: S3Server, folder: Path) -> RegistrySpec:
    options = {"path": folder, "url": url, "storage": s3.url(folder.name), "storage_credentials": s3.credentials}
    return RegistrySpec("database", options)
