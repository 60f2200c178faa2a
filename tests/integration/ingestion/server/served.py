"""An ingestion server in this process, its callers, and a users server beside it."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.ingestion_service_pb2_grpc import DataIngestionServiceStub

from servers.ingestion.composition import build
from servers.ingestion.settings import IngestionSettings
from servers.runtime.server import Server
from tests.integration.ingestion.server.places import Place
from tests.integration.runtime.waiting import eventually
from tests.small_mesh.identity import Issuer, small_users

PATIENCE_S = 120.0
"""How long an ingestion may take on a busy machine."""

ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
_LOCKS = ("owner.lock", "start.lock")
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


@dataclass
class Mesh:
    """What an ingestion server needs beside it: somebody who makes tokens and has keys."""

    folder: Path
    issuer: Issuer
    key_file: Path


@contextmanager
def small_mesh() -> Iterator[Mesh]:
    """A running users server."""
    folder = Path(tempfile.mkdtemp(prefix="mlm-"))  # short: sockets have a limit of 100 bytes
    issuer = Issuer()
    users, _, key_file = small_users(issuer, folder)
    users.start()
    yield Mesh(folder, issuer, key_file)
    users.stop()
    shutil.rmtree(folder, ignore_errors=True)


def source_of(given: str | bytes | list[dict[str, Any]], name: str = "") -> ingestion_pb2.Source:
    """A source: a URI, or the bytes of a file, or rows."""
    if isinstance(given, str):
        return ingestion_pb2.Source(uri=given)
    if isinstance(given, bytes):
        return ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=given, name=name))
    source = ingestion_pb2.Source()
    for row in given:
        source.rows.rows.add().update(row)
    return source


def reason_of(ingestion: ingestion_pb2.Ingestion) -> str:
    """Why an ingestion failed; empty where it did not."""
    info = error_details_pb2.ErrorInfo()
    for detail in ingestion.error.details:
        detail.Unpack(info)
    return info.reason


@dataclass
class ServedIngestion:
    """A running ingestion server."""

    server: Server
    stub: Any
    place: Place
    data_dir: Path

    def new_dataset(self) -> str:
        """A name that nobody has."""
        return f"dataset_{uuid.uuid4().hex[:12]}"

    def start(self, dataset: str, given: str | bytes | list[dict[str, Any]], name: str = "", **more: Any) -> ingestion_pb2.Ingestion:
        """Asks for an ingestion."""
        answer: ingestion_pb2.Ingestion = self.stub.IngestData(pb.IngestDataRequest(dataset=dataset, source=source_of(given, name), **more))
        return answer

    def ingest(self, dataset: str, given: str | bytes | list[dict[str, Any]], name: str = "", **more: Any) -> ingestion_pb2.Ingestion:
        """Asks for an ingestion and waits for its end."""
        answer = self.start(dataset, given, name, wait={"seconds": 30}, **more)
        return answer if answer.state in ENDED else self.ended(answer.id)

    def look(self, ingestion_id: str) -> ingestion_pb2.Ingestion:
        """An ingestion as it stands."""
        answer: ingestion_pb2.Ingestion = self.stub.GetIngestion(pb.GetIngestionRequest(id=ingestion_id))
        return answer

    def ended(self, ingestion_id: str) -> ingestion_pb2.Ingestion:
        """An ingestion once it has ended."""
        eventually(lambda: self.look(ingestion_id).state in ENDED, PATIENCE_S)
        return self.look(ingestion_id)

    def exists(self, dataset: str) -> bool:
        """Whether the server knows a dataset."""
        try:
            self.stub.GetDataset(pb.GetDatasetRequest(name=dataset))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    def scratch_files(self) -> list[str]:
        """What lies in the folder for temporary files beside locks."""
        scratch = self.data_dir / "ingestion" / "scratch"
        # Unlike `rglob`, it does not mind a folder that goes meanwhile.
        found = [Path(folder, name) for folder, _, names in os.walk(scratch) for name in names]
        return [str(path.relative_to(scratch)) for path in found if path.name not in _LOCKS]


@contextmanager
def served(
    mesh: Mesh,
    place: Place,
    *,
    database_url: str = "",
    data_dir: Path | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **settings: Any,
) -> Iterator[ServedIngestion]:
    """An ingestion server as long as the block runs.

    Args:
        mesh: What is beside it.
        place: Where its sources and tables are.
        database_url: Its database; SQLite in `data_dir` by default.
        data_dir: Its folder; a new one by default.
        clock: The time by which uploads expire.
        settings: Others of its settings.
    """
    own = mesh.folder / uuid.uuid4().hex[:6]
    data_dir = data_dir or own
    usual: dict[str, Any] = {
        "data_dir": data_dir,
        "listen": f"unix:{own}.sock",
        "users_address": f"unix:{mesh.folder}/users.sock",
        "service_key_file": mesh.key_file,
        "database_url": database_url,
        "tables_url": place.tables_url,
        "allowed_sources": (place.sources_url,),
        "s3_endpoint": place.s3_endpoint,
        "drain_s": 0,
    }
    server = build(IngestionSettings(**(usual | settings)), clock)
    server.start()
    try:
        with grpc.insecure_channel(server.address, options=_OPTIONS) as channel:
            bearer = _Bearer(mesh.issuer)
            stub = DataIngestionServiceStub(grpc.intercept_channel(channel, bearer))
            yield ServedIngestion(server, stub, place, data_dir)
    finally:
        server.stop()


def bearing(channel: grpc.Channel, mesh: Mesh) -> grpc.Channel:
    """A channel whose calls show a token."""
    return grpc.intercept_channel(channel, _Bearer(mesh.issuer))


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    """Shows a token with each call."""

    def __init__(self, issuer: Issuer) -> None:
        self._metadata = issuer.bearer()

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(metadata=self._metadata), request)
