"""Every online store, each on its real server."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.redis import RedisServer, redis_server
from servers.features.online import OnlineStore, open_online_store

PATIENCE_S = 60.0
"""Time-out of stores whose tests are not about it: machines of tests are busy."""


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running Redis."""
    # Not in pytest's folder: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, redis_server(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_store_url(postgresql: PostgresqlServer) -> str:
    """A database in a running PostgreSQL, one for all: stopping a server takes a second for each database that was made."""
    return postgresql.new_database()


@pytest.fixture(params=["lmdb", "redis", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is. Views keep tests apart."""
    if request.param == "lmdb":
        return f"lmdb://{tmp_path}/online"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        return server.url
    postgresql_url: str = request.getfixturevalue("postgresql_store_url")
    return postgresql_url


@pytest.fixture
def store(url: str) -> Iterator[OnlineStore]:
    opened = open_online_store(url, timeout_s=PATIENCE_S)
    yield opened
    opened.close()


@pytest.fixture
def view() -> str:
    """A view that nobody has used before."""
    return f"tests/view_{uuid.uuid4().hex}@1"
