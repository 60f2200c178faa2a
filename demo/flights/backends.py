"""What the mesh of the demo keeps its state in: files, or the servers of a production; the job is the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from demo.flights.arrivals import CLUSTER, Arrivals, Published, Streamed


class Landing(Protocol):
    """Where raw files lie that the mesh reads."""

    def put(self, path: Path) -> str:
        """Lays a file there and returns its URI."""


@dataclass(frozen=True)
class Backends:
    """What a mesh keeps its state in.

    Args:
        name: What people are told.
        landing: Where raw files lie.
        arrivals: How rows arrive that are in no file.
        environment: Settings of the mesh, credentials among them.
        storage_options: How the tables of datasets are read, as deltalake takes it.
    """

    name: str
    landing: Landing
    arrivals: Arrivals
    environment: Mapping[str, str] = field(repr=False)
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Folder:
    path: Path

    def put(self, path: Path) -> str:
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / path.name).write_bytes(path.read_bytes())
        return (self.path / path.name).as_uri()


@dataclass(frozen=True)
class _Bucket:
    client: Any
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/landing"

    def put(self, path: Path) -> str:
        self.client.fput_object(self.name, f"landing/{path.name}", str(path))
        return f"{self.url}/{path.name}"


def embedded(data_dir: Path) -> Backends:
    """SQLite and files in the data directory: nothing else runs."""
    landing = data_dir / "landing"
    settings = {"MLMESH_INGESTION_ALLOWED_SOURCES": json.dumps([landing.as_uri()])}
    return Backends("SQLite and local files", _Folder(landing), Streamed(), settings)


@contextmanager
def production_like() -> Iterator[Backends]:
    """PostgreSQL, S3, Redis and Kafka, real ones from wheels, for as long as the block runs."""
    # Only here: they come with `mlmesh[demo-full]`.
    from blob_store.s3 import connect
    from demo.real_servers.kafka import tansu
    from demo.real_servers.postgresql import postgresql_server
    from demo.real_servers.redis import redis_server
    from demo.real_servers.s3 import s3_server

    with ExitStack() as stack:
        # Short, since the path of a socket is limited.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlm-")))
        database = stack.enter_context(postgresql_server(folder / "postgresql"))
        s3 = stack.enter_context(s3_server(folder / "s3"))
        kafka = stack.enter_context(tansu(folder / "kafka", s3)).kafka
        redis = stack.enter_context(redis_server(folder / "redis"))
        landing = _Bucket(connect(s3.endpoint, credentials=s3.credentials), s3.bucket)
        yield Backends(
            "PostgreSQL, S3, Redis and Kafka",
            landing,
            Published(kafka),
            {
                "MLMESH_DATABASE_URL": database.new_database(),
                "MLMESH_BLOB_URL": s3.url("blobs"),
                "MLMESH_INGESTION_TABLES_URL": s3.url("tables"),
                "MLMESH_INGESTION_S3_ENDPOINT": s3.endpoint,
                "MLMESH_PROCESSING_S3_ENDPOINT": s3.endpoint,
                "MLMESH_FEATURES_S3_ENDPOINT": s3.endpoint,
                "MLMESH_FEATURES_ONLINE_URL": redis.url,
                "MLMESH_INGESTION_ALLOWED_SOURCES": json.dumps([landing.url]),
                "MLMESH_INGESTION_KAFKA_CLUSTERS": json.dumps({CLUSTER: {"bootstrap.servers": kafka.address}}),
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            },
            {
                "AWS_ENDPOINT_URL": s3.endpoint,
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            },
        )
