"""What the protocol asks of models besides predictions: what they are, whether they are ready, load and unload.

It is asked of the mesh's own contract, so that one of several workers speaks for all of them, whichever protocol the question came by.
"""

from __future__ import annotations

from grpc import ServicerContext
from mlops.serving.v1 import served_model_pb2, serving_service_pb2

from servers.serving.errors import ModelLoadFailed, ModelLoading, ModelNotFound, ModelNotServable
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference.model_names import choice_of
from servers.serving.resolution import Resolver
from servers.serving.servicer import ServingServicer

_PAGE_SIZE = 1000
_READY = served_model_pb2.SERVED_MODEL_STATE_READY


class ServedModels:
    """Knows the models of all workers.

    Args:
        resolver: Finds versions.
        servicer: Lists, loads and unloads.
    """

    def __init__(self, resolver: Resolver, servicer: ServingServicer) -> None:
        self._resolver = resolver
        self._servicer = servicer

    def describe(self, choice: ModelChoice, context: ServicerContext) -> served_model_pb2.ServedModel:
        """What a version is. Loads it where it is not loaded: its signature stands in its file.

        Args:
            choice: Which version.
            context: The call for which it is asked.

        Raises:
            servers.runtime.errors.DomainError: If there is none, or it cannot be loaded.
        """
        source = self._resolver.resolve(choice)
        known = next((model for model in self.of_model(source.project, source.name, context) if model.version == source.version), None)
        if known is not None and known.state == _READY:
            return known
        if known is not None and known.state == served_model_pb2.SERVED_MODEL_STATE_FAILED:
            # As for predictions: only who asks for a load tries again.
            raise ModelLoadFailed(f"`{source.name}` version {source.version} cannot be loaded: {known.error}")
        pinned = serving_service_pb2.LoadModelRequest(project=source.project, model=source.name, version=source.version)
        loaded = self._servicer.LoadModel(pinned, context)
        if not loaded.HasField("signature"):
            raise ModelLoading(f"`{source.name}` version {source.version} was unloaded meanwhile; try again", retry_after_s=1)
        return loaded

    def is_ready(self, choice: ModelChoice, context: ServicerContext) -> bool:
        """Whether a version is in memory. One that does not exist is not."""
        try:
            source = self._resolver.resolve(choice)
        except (ModelNotFound, ModelNotServable):
            return False
        models = self.of_model(source.project, source.name, context)
        return any(model.version == source.version and model.state == _READY for model in models)

    def of_model(self, project: str, name: str, context: ServicerContext) -> list[served_model_pb2.ServedModel]:
        """What is in memory of one model, by version."""
        return [model for model in self.of_project(project, context) if model.name == name]

    def of_project(self, project: str, context: ServicerContext) -> list[served_model_pb2.ServedModel]:
        """What is in memory, by name and version, also what failed to get there."""
        request = serving_service_pb2.ListServedModelsRequest(project=project, page_size=_PAGE_SIZE)
        answer = self._servicer.ListServedModels(request, context)
        models = list(answer.models)
        while answer.next_page_token:
            request.page_token = answer.next_page_token
            answer = self._servicer.ListServedModels(request, context)
            models += answer.models
        return models

    def counted(self, name: str, version: str, project: str, context: ServicerContext) -> list[served_model_pb2.ServedModel]:
        """What has statistics.

        Args:
            name: Name of the model; empty = all of the project.
            version: Version number or alias; empty = all of the model.
            project: Project of the model.
            context: The call for which it is asked.

        Raises:
            ModelNotFound: If there is no such model or version.
        """
        if not name:
            return [model for model in self.of_project(project, context) if model.HasField("signature")]
        source = self._resolver.resolve(choice_of(name, version, project))  # what does not exist is no empty list
        loaded = [model for model in self.of_model(project, name, context) if model.HasField("signature")]
        return [model for model in loaded if not version or model.version == source.version]

    def load(self, choice: ModelChoice, context: ServicerContext) -> None:
        """Loads and warms a version.

        Raises:
            servers.runtime.errors.DomainError: If there is none, or it cannot be loaded.
        """
        request = serving_service_pb2.LoadModelRequest(
            project=choice.project, model=choice.name, version=choice.version, alias=choice.alias
        )
        self._servicer.LoadModel(request, context)

    def unload(self, choice: ModelChoice, context: ServicerContext) -> None:
        """Unloads a version; every loaded one of the model where none is chosen.

        Raises:
            servers.serving.errors.ModelNotLoaded: If nothing of it is loaded.
        """
        version = self._resolver.resolve(choice).version if choice.alias else choice.version
        request = serving_service_pb2.UnloadModelRequest(project=choice.project, model=choice.name, version=version)
        self._servicer.UnloadModel(request, context)
