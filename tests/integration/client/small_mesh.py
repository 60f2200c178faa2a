"""A real gRPC server that answers like a small mesh, and fails on request."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import any_pb2, empty_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from mlops.common.v1 import stream_pb2, tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc
from mlops.serving.v1 import served_model_pb2, serving_service_pb2, serving_service_pb2_grpc
from mlops.system.v1 import system_service_pb2, system_service_pb2_grpc
from mlops.users.v1 import user_pb2, users_service_pb2, users_service_pb2_grpc

API_KEY = "mlm_test_key"
PASSWORD = "correct horse battery"
PAGE = 3


def refuse(context: grpc.ServicerContext, code: int, message: str, reason: str) -> Any:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="mlmesh"))
    context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=code, message=message, details=[detail])))


@dataclass
class Sending:
    """An upload under way."""

    digest: str
    size_bytes: int
    received: bytearray = field(default_factory=bytearray)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Scene:
    """What the server saw, and what it is to do wrong."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.metadata: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.deadlines: dict[str, float] = {}
        self.failures: defaultdict[str, list[grpc.StatusCode]] = defaultdict(list)
        self.token_lifetime_s = 900
        self.valid_tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, Sending] = {}
        self.break_upload_after: list[int] = []
        self.break_download_after: list[int] = []
        self.damage_downloads = False
        self.wrong_digests = False
        self.end_downloads_with: status_pb2.Status | None = None
        self.versions: list[model_pb2.ModelVersion] = []
        self.signature = tensor_pb2.Signature(inputs=[tensor_pb2.TensorSpec(name="x", datatype=tensor_pb2.DATA_TYPE_FP32, shape=[-1, 2])])
        self.registry_is_forbidden = False
        self.slow: set[str] = set()
        self.hurry = threading.Event()
        self.lock = threading.Lock()

    def enter(self, context: grpc.ServicerContext, method: str, request: Any, *, public: bool = False) -> None:
        with self.lock:
            self.calls[method] += 1
            self.requests[method].append(request)
            metadata = dict(context.invocation_metadata())
            self.metadata[method].append(metadata)
            self.deadlines[method] = context.time_remaining()
            failure = self.failures[method].pop(0) if self.failures[method] else None
        if method in self.slow:
            self.hurry.wait(30)
        if failure is not None:
            context.abort(failure, f"{method} fails on request")
        if not public and metadata.get("authorization", "").removeprefix("Bearer ") not in self.valid_tokens:
            refuse(context, code_pb2.UNAUTHENTICATED, "who are you?", "TOKEN_INVALID")

    def issue(self) -> users_service_pb2.TokenResponse:
        with self.lock:
            number = len(self.valid_tokens) + 1
            token, refresh = f"token-{number}", f"refresh-{number}"
            self.valid_tokens.add(token)
            self.refresh_tokens.add(refresh)
        return users_service_pb2.TokenResponse(access_token=token, expires_in=self.token_lifetime_s, refresh_token=refresh)


class Users(users_service_pb2_grpc.UserServiceServicer):
    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def Login(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "Login", request, public=True)
        if request.password != PASSWORD:
            refuse(context, code_pb2.UNAUTHENTICATED, "user name or password is wrong", "CREDENTIALS_WRONG")
        return self.scene.issue()

    def ExchangeToken(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ExchangeToken", request, public=True)
        if request.api_key != API_KEY:
            refuse(context, code_pb2.UNAUTHENTICATED, "the key is unknown", "API_KEY_UNKNOWN")
        issued = self.scene.issue()
        issued.refresh_token = ""
        return issued

    def RefreshToken(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "RefreshToken", request, public=True)
        if request.refresh_token not in self.scene.refresh_tokens:
            refuse(context, code_pb2.UNAUTHENTICATED, "used", "REFRESH_TOKEN_REUSED")
        self.scene.refresh_tokens.discard(request.refresh_token)
        return self.scene.issue()

    def GetMe(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetMe", request)
        return users_service_pb2.Me(user=user_pb2.User(username="ada"))

    def ChangePassword(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ChangePassword", request)
        return empty_pb2.Empty()


class Registry(registry_service_pb2_grpc.ModelRegistryServiceServicer):
    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def CreateModel(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateModel", request)
        return request.model

    def ListModels(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListModels", request)
        start = int(request.page_token or 0)
        names = [f"m{number}" for number in range(7)][start : start + PAGE]
        following = str(start + PAGE) if start + PAGE < 7 else ""
        return registry_service_pb2.ListModelsResponse(models=[model_pb2.Model(name=name) for name in names], next_page_token=following)

    def UpdateModel(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "UpdateModel", request)
        return request.model

    def CheckBlobs(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CheckBlobs", request)
        return registry_service_pb2.CheckBlobsResponse(missing_digests=[one for one in request.digests if one not in self.scene.blobs])

    def BeginUpload(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "BeginUpload", request)
        digest, size_bytes, upload_id = request.digest, request.size_bytes, request.upload_id
        if digest in self.scene.blobs:
            return registry_service_pb2.Upload(digest=digest, size_bytes=size_bytes, offset_bytes=size_bytes, complete=True)
        if not upload_id:
            upload_id = secrets.token_hex(16)
            self.scene.uploads[upload_id] = Sending(digest, size_bytes)
        sending = self._sending(context, upload_id)
        return self._completed_if_whole(context, upload_id, sending, digest or sending.digest)

    def UploadBlob(self, requests: Iterator[Any], context: Any) -> Any:
        first = next(requests)
        self.scene.enter(context, "UploadBlob", first)
        sending = self._sending(context, first.upload_id)
        received = sending.received
        limit = self.scene.break_upload_after.pop(0) if self.scene.break_upload_after else None
        taken = 0
        for request in (first, *requests):
            if request.offset_bytes != len(received):
                refuse(context, code_pb2.FAILED_PRECONDITION, f"the upload is at {len(received)}", "OFFSET_MISMATCH")
            received.extend(request.data)
            taken += len(request.data)
            if limit is not None and taken >= limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the network is gone")
        return self._completed_if_whole(context, first.upload_id, sending, sending.digest)

    def _sending(self, context: Any, upload_id: str) -> Sending:
        if upload_id not in self.scene.uploads:
            refuse(context, code_pb2.NOT_FOUND, "there is no such upload", "UPLOAD_NOT_FOUND")
        return self.scene.uploads[upload_id]

    def _completed_if_whole(self, context: Any, upload_id: str, sending: Sending, digest: str) -> Any:
        content = bytes(sending.received)
        is_complete = bool(digest) and len(content) == sending.size_bytes
        if is_complete:
            del self.scene.uploads[upload_id]
            if digest_of(content) != digest:
                refuse(context, code_pb2.INVALID_ARGUMENT, f"the content has the digest {digest_of(content)}", "DIGEST_MISMATCH")
            self.scene.blobs[digest] = content
        stated = digest_of(b"something else") if is_complete and self.scene.wrong_digests else digest
        return registry_service_pb2.Upload(
            id=upload_id, digest=stated, size_bytes=sending.size_bytes, offset_bytes=len(content), complete=is_complete
        )

    def DownloadBlob(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DownloadBlob", request)
        content = self.scene.blobs[request.digest][request.offset_bytes :]
        if self.scene.damage_downloads:
            content = b"X" + content[1:]
        limit = self.scene.break_download_after.pop(0) if self.scene.break_download_after else None
        for position in range(0, len(content), 1000):
            if limit is not None and position >= limit:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the network is gone")
            yield registry_service_pb2.DownloadBlobResponse(data=content[position : position + 1000])
        yield registry_service_pb2.DownloadBlobResponse(end=stream_pb2.StreamEnd(status=self.scene.end_downloads_with))

    def UploadArtifact(self, requests: Iterator[Any], context: Any) -> Any:
        first = next(requests)
        self.scene.enter(context, "UploadArtifact", first)
        content = b"".join(request.body.data for request in (first, *requests))
        digest = digest_of(content)
        self.scene.blobs[digest] = content
        return model_pb2.ModelFile(path=first.path, digest=digest, size_bytes=len(content))

    def DownloadArtifact(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DownloadArtifact", request)
        for content in self.scene.blobs.values():
            yield httpbody_pb2.HttpBody(data=content)

    def CreateModelVersion(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CreateModelVersion", request)
        version = model_pb2.ModelVersion()
        version.CopyFrom(request.version)
        version.model, version.version = request.model, len(self.scene.versions) + 1
        self.scene.versions.append(version)
        return version

    def ListModelVersions(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListModelVersions", request)
        found = [version for version in reversed(self.scene.versions) if version.model == request.model]
        if not found:
            refuse(context, code_pb2.NOT_FOUND, f"there is no model {request.model}", "MODEL_NOT_FOUND")
        return registry_service_pb2.ListModelVersionsResponse(versions=found[: request.page_size or PAGE])

    def ResolveModelVersion(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ResolveModelVersion", request)
        if self.scene.registry_is_forbidden:
            refuse(context, code_pb2.PERMISSION_DENIED, "you may not", "PERMISSION_DENIED")
        if self.scene.versions:
            return self.scene.versions[-1]
        return model_pb2.ModelVersion(model=request.model, version=1, signature=self.scene.signature)


class Serving(serving_service_pb2_grpc.ModelServingServiceServicer):
    """Its model doubles what it gets; what it gets has to be called as the signature says."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def Predict(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "Predict", request)
        expected = self.scene.signature.inputs[0].name
        if request.inputs[0].name != expected:
            refuse(context, code_pb2.INVALID_ARGUMENT, f"expected {expected}", "INPUT_UNKNOWN")
        import numpy as np

        doubled = np.frombuffer(request.inputs[0].raw, "<f4") * 2
        output = tensor_pb2.Tensor(name="y", datatype=tensor_pb2.DATA_TYPE_FP32, shape=request.inputs[0].shape, raw=doubled.tobytes())
        model = served_model_pb2.AnsweringModel(name=request.model.name, version=1, digest="sha256:00")
        return serving_service_pb2.PredictResponse(outputs=[output], model=model, prediction_id="p-1")

    def PredictJson(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "PredictJson", request)
        rows = json.loads(request.body.data)["instances"]
        answer = {
            "predictions": [[2 * value for value in row] for row in rows],
            "model": {"name": request.model, "version": 1, "digest": "sha256:00"},
            "prediction_id": "p-2",
        }
        return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(answer).encode())


class System(system_service_pb2_grpc.SystemMonitorServiceServicer):
    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def GetHealth(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetHealth", request, public=True)
        return system_service_pb2.GetHealthResponse(version="0.0.test")


def serve(scene: Scene, register: Callable[[grpc.Server], object] = lambda _: None) -> tuple[grpc.Server, str]:
    """Starts the server; returns it and its address."""
    server = grpc.server(ThreadPoolExecutor(16))
    users_service_pb2_grpc.add_UserServiceServicer_to_server(Users(scene), server)
    registry_service_pb2_grpc.add_ModelRegistryServiceServicer_to_server(Registry(scene), server)
    serving_service_pb2_grpc.add_ModelServingServiceServicer_to_server(Serving(scene), server)
    system_service_pb2_grpc.add_SystemMonitorServiceServicer_to_server(System(scene), server)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"http://127.0.0.1:{port}"
