"""The registry server as a source of models: the only module of serving that calls another component."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mlops.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc

from servers.runtime.errors import DomainError
from servers.serving.errors import MODEL_RESOURCE, InvalidModelChoice, ModelNotFound, ModelNotServable, RegistryUnavailable
from servers.serving.model_source import ModelChoice, SourceFile, SourceVersion

REGISTRY_SERVICE = "mlops.registry.v1.ModelRegistryService"

_LOGGER = logging.getLogger(__name__)
_RESUMES = 5
"""Times that a broken transfer goes on where it broke, without a byte in between."""


class RegistrySource:
    """Asks the registry server.

    Args:
        channel: To the registry, with the credentials of the mesh's service account.
        fetch_timeout_s: Longest time for one stretch of a transfer to bring its next piece, in seconds.
    """

    def __init__(self, channel: grpc.Channel, *, fetch_timeout_s: float) -> None:
        self._stub = registry_service_pb2_grpc.ModelRegistryServiceStub(channel)
        self._fetch_timeout_s = fetch_timeout_s

    def resolve(self, choice: ModelChoice, timeout_s: float) -> SourceVersion:
        """Finds the version that a choice stands for; see `ModelSource.resolve`."""
        request = registry_service_pb2.ResolveModelVersionRequest(
            model=choice.name,
            project=choice.project,
            version=choice.version,
            alias=choice.alias,
            stage=model_pb2.ModelStage.Value(f"MODEL_STAGE_{(choice.stage or 'unspecified').upper()}"),
        )
        try:
            version = self._stub.ResolveModelVersion(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _of_resolve(error, choice) from error
        return SourceVersion(
            project=version.project or choice.project,
            name=version.model,
            version=version.version,
            format=version.format,
            onnx_path=version.onnx_path,
            files=tuple(SourceFile(file.path, file.digest, file.size_bytes) for file in version.files),
        )

    def fetch(self, project: str, file: SourceFile) -> Iterator[bytes]:
        """Reads a file, resuming where the connection breaks; see `ModelSource.fetch`."""
        offset, failures = 0, 0
        while offset < file.size_bytes:
            before = offset
            try:
                for piece in self._pieces(project, file, offset):
                    offset += len(piece)
                    yield piece
            except grpc.RpcError as error:
                failures = failures + 1 if offset == before else 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE or failures > _RESUMES:
                    raise _of_fetch(error, file) from error
                _LOGGER.info("%s: the transfer broke at byte %d and goes on: %s", file.digest, offset, error.details())
                continue
            if offset == before:
                raise RegistryUnavailable(f"the registry ends {file.digest} at byte {offset} of {file.size_bytes}", retry_after_s=5)

    def _pieces(self, project: str, file: SourceFile, offset: int) -> Iterator[bytes]:
        request = registry_service_pb2.DownloadBlobRequest(
            project=project, digest=file.digest, offset_bytes=offset, verified_by_caller=True
        )
        for message in self._stub.DownloadBlob(request, timeout=self._stretch_timeout_s(file, offset)):
            kind = message.WhichOneof("message")
            if kind == "end":
                if message.end.status.code:
                    raise RegistryUnavailable(f"the registry cannot give {file.digest}: {message.end.status.message}", retry_after_s=5)
                return
            if message.data:
                yield message.data

    def _stretch_timeout_s(self, file: SourceFile, offset: int) -> float:
        """Deadline of the rest of a file, in seconds: the setting, and a second for each 4 MiB besides."""
        return self._fetch_timeout_s + (file.size_bytes - offset) / (4 * 1024**2)


def check_registry(channel: grpc.Channel) -> None:
    """Finds out whether the registry serves; health needs no credentials.

    Raises:
        RegistryUnavailable: If it does not.
    """
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=REGISTRY_SERVICE))
    except grpc.RpcError as error:
        raise RegistryUnavailable(f"the registry does not answer: {error.code().name}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise RegistryUnavailable("the registry is not ready")


def _of_resolve(error: grpc.RpcError, choice: ModelChoice) -> DomainError:
    code, text = error.code(), error.details() or ""
    if code is grpc.StatusCode.NOT_FOUND:
        name = f"{choice.name}/{choice.version}" if choice.version else choice.name
        return ModelNotFound(text or f"there is no {choice}", resource=(MODEL_RESOURCE, name), metadata={"project": choice.project})
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidModelChoice(f"{choice} cannot exist: {text}", field_violations=[("model", text)])
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        # Pending, failed or deleted: no retry helps, and the registry has said what does.
        return ModelNotServable(text, preconditions=[("VERSION_STATE", choice.name, text)])
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        _LOGGER.error("the registry refuses the credentials of serving: %s", text)
    return RegistryUnavailable(f"the registry does not say which version {choice} is; try again", retry_after_s=1)


def _of_fetch(error: grpc.RpcError, file: SourceFile) -> DomainError:
    _LOGGER.error("fetching %s failed: %s %s", file.digest, error.code(), error.details())
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return RegistryUnavailable(f"the registry has lost the file `{file.path}` ({file.digest}); verify the version", retry_after_s=30)
    return RegistryUnavailable(f"the file `{file.path}` ({file.digest}) cannot be fetched from the registry; try again", retry_after_s=1)
