"""Features on PostgreSQL, datasets in an S3, and the online store in Redis or in PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlops.features.v1 import feature_store_service_pb2 as store_pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.redis import RedisServer, redis_server
from demo.real_servers.s3 import S3Server
from tests.integration.features.real.running import RealFeatures, features_beside
from tests.integration.ingestion.server.places import S3Place
from tests.integration.ingestion.server.served import small_mesh
from tests.integration.processing.server.served import ServedProcessing, served


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisServer]:
    """A running Redis."""
    # Not in pytest's folder: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder, redis_server(Path(folder)) as server:
        yield server


@pytest.fixture(scope="package")
def others_database_url(postgresql: PostgresqlServer) -> str:
    """The database of processing and ingestion."""
    return postgresql.new_database()


@pytest.fixture(scope="package")
def others(s3: S3Server, others_database_url: str) -> Iterator[ServedProcessing]:
    """Processing and ingestion, on PostgreSQL and an S3."""
    with pytest.MonkeyPatch.context() as environment, small_mesh() as mesh:
        environment.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        with served(mesh, S3Place(s3), database_url=others_database_url) as running:
            yield running


@pytest.fixture(scope="module", params=["redis", "postgresql"])
def features(
    request: pytest.FixtureRequest, others: ServedProcessing, postgresql: PostgresqlServer, redis: RedisServer
) -> Iterator[RealFeatures]:
    """A features server, and an entity."""
    database_url = postgresql.new_database()
    # An online store may share a database, in which it has a schema of its own.
    online_url = redis.url if request.param == "redis" else database_url
    with features_beside(others, database_url, online_url) as running:
        key = view_pb.JoinKey(name="customer_id", type="int64")
        running.store.CreateEntity(store_pb.CreateEntityRequest(name="customer", join_keys=[key]))
        yield running
