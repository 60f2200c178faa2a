from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2_grpc
from mlops.registry.v1 import registry_service_pb2 as pb

from model_management.signing import make_key_pair
from servers.registry.composition import build
from servers.registry.settings import RegistrySettings
from servers.runtime.peers import open_channel
from tests.small_mesh.identity import EVERYTHING, Issuer, StaticToken, small_users


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class ServedRegistry:
    """A registry server on a Unix socket, with a users server beside it. It trusts the public half of `release_key`."""

    address: str
    issuer: Issuer
    data_dir: Path
    release_key: Path
    channels: list[grpc.Channel]

    def stub(self, grants: Mapping[str, Sequence[str]] = EVERYTHING) -> Any:
        channel = open_channel(self.address, identity=StaticToken(self.issuer.token(grants)))
        self.channels.append(channel)
        return registry_service_pb2_grpc.ModelRegistryServiceStub(channel)

    def upload(self, content: bytes, project: str = "") -> model_pb2.ModelFile:
        """Stores a blob, and gives a file that has it."""
        stub, digest = self.stub(), digest_of(content)
        upload = stub.BeginUpload(pb.BeginUploadRequest(project=project, digest=digest, size_bytes=len(content)))
        if not upload.complete:
            upload = stub.UploadBlob(iter([pb.UploadBlobRequest(project=project, upload_id=upload.id, data=content)]))
        assert upload.complete
        return model_pb2.ModelFile(path="weights.bin", digest=digest, size_bytes=len(content))

    def save(self, model: str, content: bytes, project: str = "", **fields: Any) -> model_pb2.ModelVersion:
        """Saves the next version of a model."""
        version = model_pb2.ModelVersion(files=[self.upload(content, project)], **fields)
        request = pb.CreateModelVersionRequest(model=model, project=project, version=version, create_model=True)
        created: model_pb2.ModelVersion = self.stub().CreateModelVersion(request)
        return created


@dataclass(frozen=True)
class Refusal:
    """How a call was refused."""

    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    violations: dict[str, str]


Refused = Callable[[Callable[[], Any]], Refusal]


@pytest.fixture
def refused() -> Refused:
    def call(made: Callable[[], Any]) -> Refusal:
        with pytest.raises(grpc.RpcError) as caught:
            made()
        error: Any = caught.value
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            _ = detail.Unpack(info) or detail.Unpack(bad)
        violations = {violation.field: violation.description for violation in bad.field_violations}
        return Refusal(error.code(), error.details(), info.reason, dict(info.metadata), violations)

    return call


@pytest.fixture(scope="module")
def served() -> Iterator[ServedRegistry]:
    folder = Path(tempfile.mkdtemp(prefix="mlm-"))  # short: sockets have a limit of 100 bytes
    issuer = Issuer()
    users, _, key_file = small_users(issuer, folder)
    release_key, trusted = folder / "release.pem", folder / "release.pub"
    make_key_pair(release_key, trusted)
    settings = RegistrySettings(
        data_dir=folder / "data",
        listen=f"unix:{folder}/registry.sock",
        users_address=f"unix:{folder}/users.sock",
        service_key_file=key_file,
        max_file_bytes=8_000_000,
        trusted_keys=(trusted,),
        drain_s=0,
    )
    server = build(settings)
    users.start()
    server.start()
    running = ServedRegistry(server.address, issuer, folder / "data", release_key, [])
    yield running
    for channel in running.channels:
        channel.close()
    server.stop()
    users.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stub(served: ServedRegistry) -> Any:
    return served.stub()


@pytest.fixture(name="digest_of")
def digest_function() -> Callable[[bytes], str]:
    return digest_of
