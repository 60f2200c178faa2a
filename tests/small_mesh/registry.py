"""A registry that keeps versions in a dictionary and serves them by the real contract, through the real runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.registry.v1 import model_pb2, registry_service_pb2_grpc
from mlops.registry.v1 import registry_service_pb2 as pb

from servers.runtime.audit_events import LogAuditSink
from servers.runtime.errors import NotFound
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.settings import ServerSettings
from servers.runtime.streams import with_end
from tests.small_mesh.identity import Issuer


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class SmallRegistry(registry_service_pb2_grpc.ModelRegistryServiceServicer):
    """What a test has saved."""

    versions: dict[tuple[str, str], list[model_pb2.ModelVersion]] = field(default_factory=dict)
    aliases: dict[tuple[str, str, str], int] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    resolved: int = 0
    downloaded: list[str] = field(default_factory=list)
    piece_bytes: int = 64 * 1024
    before_download: Callable[[], object] = lambda: None

    def save(
        self, name: str, files: Mapping[str, bytes], *, onnx_path: str = "model.onnx", project: str = "default", stage: str = "NONE"
    ) -> int:
        """Saves the next version and returns its number."""
        saved = self.versions.setdefault((project, name), [])
        for content in files.values():
            self.blobs[digest_of(content)] = content
        saved.append(
            model_pb2.ModelVersion(
                model=name,
                version=len(saved) + 1,
                project=project,
                state=model_pb2.MODEL_VERSION_STATE_READY,
                stage=model_pb2.ModelStage.Value(f"MODEL_STAGE_{stage}"),
                format="onnx",
                files=[
                    model_pb2.ModelFile(path=path, digest=digest_of(content), size_bytes=len(content)) for path, content in files.items()
                ],
                onnx_path=onnx_path,
            )
        )
        return len(saved)

    def save_onnx(self, name: str, model: bytes, **kwargs: Any) -> int:
        return self.save(name, {"model.onnx": model}, **kwargs)

    def ResolveModelVersion(self, request: pb.ResolveModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        self.resolved += 1
        project = request.project or "default"
        found = self.versions.get((project, request.model), [])
        if not found:
            raise NotFound(
                f"there is no model `{request.model}` in project `{project}`", resource=("mlops.registry.v1.Model", request.model)
            )
        number = request.version or self.aliases.get((project, request.model, request.alias or "default"), 0)
        if request.stage:
            found = [version for version in found if version.stage == request.stage]
        if number:
            found = [version for version in found if version.version == number]
        elif request.alias:
            found = []
        if not found:
            raise NotFound(f"model `{request.model}` has no such version", resource=("mlops.registry.v1.ModelVersion", request.model))
        return found[-1]

    def DownloadBlob(self, request: pb.DownloadBlobRequest, context: Any) -> Iterator[pb.DownloadBlobResponse]:
        self.before_download()
        self.downloaded.append(request.digest)
        content = self.blobs.get(request.digest)
        if content is None:
            raise NotFound("no such blob")
        pieces = (
            pb.DownloadBlobResponse(data=content[start : start + self.piece_bytes])
            for start in range(request.offset_bytes, len(content), self.piece_bytes)
        )
        return with_end(pieces, pb.DownloadBlobResponse)


def small_registry_server(servicer: SmallRegistry, issuer: Issuer, folder: Path) -> Server:
    """A registry server, not started."""
    settings = ServerSettings(data_dir=folder, listen=f"unix:{folder}/registry.sock", drain_s=0)
    registration = Registration(registry_service_pb2_grpc.add_ModelRegistryServiceServicer_to_server, servicer)
    return build_server(settings, [registration], component="registry", verifier=issuer.verifier(), audit=LogAuditSink())
