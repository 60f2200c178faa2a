"""`/v2`, each method one sentence: convert, call, convert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.api import httpbody_pb2
from grpc import ServicerContext
from mlops.serving.v1 import open_inference_service_pb2 as pb
from mlops.serving.v1 import open_inference_service_pb2_grpc

from servers.runtime.auth import current_project
from servers.runtime.calls import current_call
from servers.runtime.errors import Unavailable
from servers.runtime.server import software_version
from servers.serving.engine import PredictionEngine
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference import binary_extension, descriptions
from servers.serving.open_inference.audited import note_model
from servers.serving.open_inference.errors import ModelNotReady, invalid
from servers.serving.open_inference.model_names import choice_of
from servers.serving.open_inference.parameters import flag_of
from servers.serving.open_inference.plain_json import json_list_of, json_of
from servers.serving.open_inference.repository_parameters import choice_of_load, choice_of_unload
from servers.serving.open_inference.rest_infer import RestInferReader, infer_answer, parsed
from servers.serving.open_inference.served_models import ServedModels
from servers.serving.open_inference.triton_statistics import counts_of, model_statistics

_JSON = "application/json"
_WITH_BINARY = "application/octet-stream"
_EMPTY = b"{}"


class OpenInferenceServicer(open_inference_service_pb2_grpc.OpenInferenceServiceServicer):
    """Serves `mlops.serving.v1.OpenInferenceService`.

    Args:
        engine: Answers predictions.
        served: Knows the models.
        reader: Reads bodies.
    """

    def __init__(self, engine: PredictionEngine, served: ServedModels, reader: RestInferReader) -> None:
        self._engine = engine
        self._served = served
        self._reader = reader

    def ServerLive(self, request: pb.ServerLiveRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Says that the process answers."""
        return _json(_EMPTY)

    def ServerReady(self, request: pb.ServerReadyRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Says whether the server takes predictions, which it does until it stops."""
        if current_call().stopping.is_set():
            raise Unavailable("the server is stopping", reason="SERVER_STOPPING")
        return _json(_EMPTY)

    def ServerMetadata(self, request: pb.ServerMetadataRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Describes the server."""
        return _json(json_of(descriptions.server_metadata(software_version())))

    def ModelReady(self, request: pb.ModelReadyRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Says whether a version is in memory."""
        if not self._served.is_ready(_choice(request), context):
            raise ModelNotReady(f"`{request.model[:100]}` is not loaded; its first prediction loads it, and so does a load call")
        return _json(_EMPTY)

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Describes a version."""
        model = self._served.describe(_choice(request), context)
        return _json(json_of(descriptions.model_metadata(model, self._served.of_model(model.project, model.name, context))))

    def ModelConfig(self, request: pb.ModelConfigRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Describes a version in Triton's way."""
        return _json(json_of(descriptions.model_config(self._served.describe(_choice(request), context))))

    def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Tells what was predicted."""
        counted = self._served.counted(request.model, request.version, current_project(), context)
        return _json(json_of(model_statistics([counts_of(model) for model in counted])))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Predicts."""
        body = await self._reader.inflated(request.body.data, _header("content-encoding") or "")
        rest = self._reader.read(body, _header(binary_extension.HEADER), model=request.model, version=request.version)
        call = rest.call
        prediction = await self._engine.predict(call.choice, call.inputs, call.output_names, context.time_remaining())
        return _answer(*infer_answer(prediction, rest), context)

    def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Lists what is in memory."""
        only_ready = flag_of(_document(request.body), "ready", "body", default=False)
        index = descriptions.repository_index(self._served.of_project(current_project(), context), only_ready=only_ready)
        return _json(json_list_of(index.models))

    def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Loads and warms a version."""
        self._served.load(note_model(choice_of_load(request.model, _parameters(request.body))), context)
        return _json(_EMPTY)

    def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Unloads a version, or all of a model."""
        self._served.unload(note_model(choice_of_unload(request.model, _parameters(request.body))), context)
        return _json(_EMPTY)


def _choice(request: pb.ModelMetadataRequest | pb.ModelReadyRequest | pb.ModelConfigRequest) -> ModelChoice:
    return choice_of(request.model, request.version, current_project())


def _header(name: str) -> str | None:
    value = current_call().header(name)
    return value if isinstance(value, str) else None


def _answer(body: bytes, json_bytes: int | None, context: ServicerContext) -> httpbody_pb2.HttpBody:
    if json_bytes is None:
        return _json(body)
    context.send_initial_metadata(((binary_extension.HEADER, str(json_bytes)),))
    return httpbody_pb2.HttpBody(content_type=_WITH_BINARY, data=body)


def _json(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=_JSON, data=data)


def _document(body: httpbody_pb2.HttpBody) -> dict[str, Any]:
    return parsed(body.data) if body.data else {}


def _parameters(body: httpbody_pb2.HttpBody) -> Mapping[str, object]:
    parameters = _document(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid("parameters", "expected an object")
    return parameters
