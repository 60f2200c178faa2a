"""Real servers, started once a session by the first test that needs them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from demo.real_servers.postgresql import PostgresqlServer, postgresql_server
from demo.real_servers.s3 import S3Server, s3_server
from tests.real_servers.mariadb import MariadbServer, mariadb_server

# Tests that import ONNX Runtime themselves report to its makers no more than the servers do.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A busy machine is not a bug: no example has a time limit, and none to be drawn. Hanging ones meet the timeout of the whole test.
settings.register_profile("mlmesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mlmesh")

pytest.register_assert_rewrite("tests.registry_behaviour", "tests.collection_behaviour")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Not every venv that runs tests has pytest-xdist.
    from tests.folders_together import FoldersTogether

    return FoldersTogether(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 with one bucket."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL."""
    # Not in pytest's folder: as root the server runs as another user, from whom every new session of pytest shuts that folder off.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder, postgresql_server(Path(folder)) as server:
        yield server


@pytest.fixture
def postgres_url(postgresql: PostgresqlServer) -> str:
    """The URL of an empty database in a running PostgreSQL."""
    return postgresql.new_database()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """A running MariaDB; tests that use it are marked `system_package`."""
    # Not in pytest's folder, whose name grows with its number: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="mariadb-") as folder, mariadb_server(Path(folder)) as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb: MariadbServer) -> str:
    """The URL of an empty database in a running MariaDB."""
    return mariadb.new_database()
