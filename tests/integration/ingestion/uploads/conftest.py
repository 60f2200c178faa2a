"""Uploads: their domain over a database and a blob store, and a real server with them, each on one machine and shared by several."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlops.ingestion.v1 import upload_service_pb2 as pb
from mlops.ingestion.v1.upload_service_pb2_grpc import DataUploadServiceStub
from sqlalchemy import Engine

from blob_store import BlobStore, open_store
from demo.real_servers.s3 import S3Server
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Uploads
from servers.ingestion.store import open_store as open_database
from servers.ingestion.uploads.place import uploads_url
from servers.ingestion.uploads.uploading import Uploading, UploadLimits
from tests.integration.ingestion.server.places import FolderPlace, Place, S3Place
from tests.integration.ingestion.server.served import Mesh, ServedIngestion, served, small_mesh

DAY = timedelta(days=1)
LIMITS: dict[str, Any] = {"file_bytes": 10**8, "count": 5, "total_bytes": 2 * 10**8, "senders": 4, "kept": DAY}


@dataclass
class Clock:
    """A time that only a test moves; it begins as the real one, by which blob stores count."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Shape:
    """Where everything lies."""

    kind: str
    database_url: str
    blob_url: str
    folder: Path

    def settings(self, **more: Any) -> IngestionSettings:
        return IngestionSettings(**({"data_dir": self.folder, "database_url": self.database_url, "blob_url": self.blob_url} | more))

    def blobs(self) -> BlobStore:
        return open_store(uploads_url(self.settings().blob_url))


@pytest.fixture(scope="module")
def s3_access(s3: S3Server) -> Iterator[S3Server]:
    """An S3, and credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        yield s3


@pytest.fixture(scope="module", params=["local", "s3"])
def shape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shape:
    """`local`: SQLite and a folder. `s3`: PostgreSQL and an S3, which several servers share."""
    folder = tmp_path_factory.mktemp("shape")
    if request.param == "local":
        return Shape("local", "", "", folder)
    server: S3Server = request.getfixturevalue("s3_access")
    database: str = request.getfixturevalue("postgresql").new_database()
    return Shape("s3", database, server.url(f"blobs-{uuid.uuid4().hex}"), folder)


@pytest.fixture(scope="module")
def engine(shape: Shape) -> Iterator[Engine]:
    opened = open_database(shape.settings())
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project() -> str:
    """A project of this test alone."""
    return f"p-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def uploading(shape: Shape, engine: Engine, clock: Clock) -> Uploading:
    return new_uploading(shape, engine, clock)


def new_uploading(shape: Shape, engine: Engine, clock: Clock, **limits: Any) -> Uploading:
    """As another server would have it: nothing in memory is shared."""
    return Uploading(engine, Uploads(engine), shape.blobs(), UploadLimits(**(LIMITS | limits)), clock)


@dataclass
class ServedUploads:
    """A running server with uploads."""

    ingestion: ServedIngestion
    stub: Any
    metadata: Any
    clock: Clock
    blobs: BlobStore

    def begin(self, size_bytes: int, name: str = "rows.csv", **more: Any) -> pb.DataUpload:
        answer: pb.DataUpload = self.stub.BeginDataUpload(
            pb.BeginDataUploadRequest(name=name, size_bytes=size_bytes, **more), metadata=self.metadata
        )
        return answer

    def append(self, upload_id: str, offset_bytes: int, *pieces: bytes, **more: Any) -> pb.DataUpload:
        first = pb.AppendDataUploadRequest(id=upload_id, offset_bytes=offset_bytes, data=pieces[0] if pieces else b"", **more)
        others = (pb.AppendDataUploadRequest(data=piece) for piece in pieces[1:])
        answer: pb.DataUpload = self.stub.AppendDataUpload(iter([first, *others]), metadata=self.metadata)
        return answer

    def get(self, upload_id: str, **more: Any) -> pb.DataUpload:
        answer: pb.DataUpload = self.stub.GetDataUpload(pb.GetDataUploadRequest(id=upload_id, **more), metadata=self.metadata)
        return answer

    def delete(self, upload_id: str) -> None:
        self.stub.DeleteDataUpload(pb.DeleteDataUploadRequest(id=upload_id), metadata=self.metadata)

    def uploaded(self, data: bytes, name: str = "rows.csv") -> str:
        """A whole upload."""
        upload_id = self.begin(len(data), name).id
        assert self.append(upload_id, 0, data).complete
        return upload_id


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A users server."""
    with small_mesh() as running:
        yield running


@contextmanager
def serving(mesh: Mesh, place: Place, shape: Shape, **settings: Any) -> Iterator[ServedUploads]:
    """A server as long as the block runs."""
    clock = Clock()
    with (
        served(mesh, place, database_url=shape.database_url, clock=clock, blob_url=shape.blob_url, data_dir=shape.folder, **settings) as it,
        grpc.insecure_channel(it.server.address) as channel,
    ):
        yield ServedUploads(it, DataUploadServiceStub(channel), mesh.issuer.bearer(), clock, shape.blobs())


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, mesh: Mesh, shape: Shape) -> Iterator[ServedUploads]:
    place: Place = FolderPlace(shape.folder / "place") if shape.kind == "local" else S3Place(request.getfixturevalue("s3_access"))
    with serving(mesh, place, shape) as running:
        yield running
