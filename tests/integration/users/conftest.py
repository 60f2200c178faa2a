from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from demo.real_servers.postgresql import PostgresqlServer
from servers.users.composition import Domain, build, open_domain
from tests.integration.users.served import Served
from tests.real_servers.mariadb import MariadbServer
from tests.users_under_test import FakeClock, cheap_settings, prepared_domain


@dataclass(frozen=True)
class Template:
    """A prepared mesh to copy, since migrating and making keys takes half a second."""

    data_dir: Path
    database_url: str


def prepare(data_dir: Path, database_url: str) -> Template:
    domain = prepared_domain(cheap_settings(data_dir, database_url=database_url), FakeClock())
    domain.signing_keys.signer()
    domain.engine.dispose()
    return Template(data_dir, database_url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    folder = tmp_path_factory.mktemp("template")
    return prepare(folder, f"sqlite:///{folder}/mesh.db")


@pytest.fixture(scope="session")
def postgresql_template(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return prepare(tmp_path_factory.mktemp("template"), postgresql.new_database())


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.system_package)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A prepared database of each kind, with the data directory that belongs to it in `tmp_path`."""
    if request.param == "mariadb":
        mariadb: MariadbServer = request.getfixturevalue("mariadb")
        return prepare(tmp_path, mariadb.new_database()).database_url
    template: Template = request.getfixturevalue(f"{request.param}_template")
    shutil.copytree(template.data_dir, tmp_path, dirs_exist_ok=True)
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/mesh.db"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.new_database(template.database_url)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def domain(database_url: str, tmp_path: Path, clock: FakeClock) -> Iterator[Domain]:
    """The domain of a mesh whose administrator `admin` has the password `PASSWORD`."""
    opened = open_domain(cheap_settings(tmp_path, database_url=database_url), clock)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def served(database_url: str, tmp_path: Path, clock: FakeClock) -> Iterator[Served]:
    """The same mesh behind a real socket."""
    settings = cheap_settings(tmp_path, database_url=database_url)
    server = build(settings, clock=clock)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        yield Served(server, settings, clock, channel, UserServiceStub(channel))
    server.stop()
