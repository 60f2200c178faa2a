"""The contract of serving, each method one sentence: convert, call, convert."""

from __future__ import annotations

from google.api import httpbody_pb2
from grpc import ServicerContext
from mlops.serving.v1 import served_model_pb2, serving_service_pb2, serving_service_pb2_grpc

from servers.serving import converters
from servers.serving.engine import PredictionEngine
from servers.serving.loaded_models import LoadedModels
from servers.serving.model_source import DEFAULT_PROJECT
from servers.serving.resolution import Resolver
from servers.serving.served_model_list import list_page


class ServingServicer(serving_service_pb2_grpc.ModelServingServiceServicer):
    """Serves `mlops.serving.v1.ModelServingService`.

    Args:
        engine: Answers predictions.
        resolver: Finds versions.
        models: Holds them in memory.
    """

    def __init__(self, engine: PredictionEngine, resolver: Resolver, models: LoadedModels) -> None:
        self._engine = engine
        self._resolver = resolver
        self._models = models

    async def Predict(self, request: serving_service_pb2.PredictRequest, context: ServicerContext) -> serving_service_pb2.PredictResponse:
        """Predicts on typed tensors."""
        choice = converters.choice_of_selector(request.model, request.project)
        inputs = [converters.raw_tensor(tensor) for tensor in request.inputs]
        return converters.predict_response(await self._engine.predict(choice, inputs, request.output_names, context.time_remaining()))

    async def PredictJson(self, request: serving_service_pb2.PredictJsonRequest, context: ServicerContext) -> httpbody_pb2.HttpBody:
        """Predicts on JSON."""
        return converters.json_body(await self._engine.predict_json(converters.json_call(request, context.time_remaining())))

    def ListServedModels(
        self, request: serving_service_pb2.ListServedModelsRequest, context: ServicerContext
    ) -> serving_service_pb2.ListServedModelsResponse:
        """Lists what is loaded."""
        project = request.project or DEFAULT_PROJECT
        page, token = list_page(
            self._models.views(project),
            project=project,
            size=request.page_size,
            token=request.page_token,
            filter_text=request.filter,
            order_by=request.order_by,
        )
        return serving_service_pb2.ListServedModelsResponse(models=map(converters.served_model, page), next_page_token=token)

    def LoadModel(self, request: serving_service_pb2.LoadModelRequest, context: ServicerContext) -> served_model_pb2.ServedModel:
        """Loads and warms a version."""
        return converters.served_model(self._models.load(self._resolver.ask(converters.choice_of_load(request))))

    def UnloadModel(
        self, request: serving_service_pb2.UnloadModelRequest, context: ServicerContext
    ) -> serving_service_pb2.UnloadModelResponse:
        """Unloads a version, or all of a model."""
        versions = self._models.unload(request.project or DEFAULT_PROJECT, request.model, request.version)
        return serving_service_pb2.UnloadModelResponse(unloaded_versions=versions)
