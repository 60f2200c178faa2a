"""`inference.GRPCInferenceService`, each method one sentence: convert, call, convert."""

from __future__ import annotations

from typing import Any, NoReturn

from grpc import ServicerContext

from servers.runtime.auth import current_project
from servers.runtime.calls import current_call
from servers.runtime.server import software_version
from servers.runtime.statuses import status_of
from servers.serving.engine import PredictionEngine
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference import contract, descriptions
from servers.serving.open_inference.audited import note_model
from servers.serving.open_inference.errors import UnservedExtension, invalid
from servers.serving.open_inference.grpc_infer import infer_call, infer_response, streamed_failure, streamed_response, values_of
from servers.serving.open_inference.model_names import choice_of
from servers.serving.open_inference.repository_parameters import choice_of_load, choice_of_unload
from servers.serving.open_inference.served_models import ServedModels
from servers.serving.open_inference.triton_statistics import counts_of, model_statistics


class GrpcInferenceServicer:
    """Serves `inference.GRPCInferenceService`; register it with `contract.add_grpc_inference_servicer_to_server`.

    Args:
        engine: Answers predictions.
        served: Knows the models.
    """

    def __init__(self, engine: PredictionEngine, served: ServedModels) -> None:
        self._engine = engine
        self._served = served

    def ServerLive(self, request: Any, context: ServicerContext) -> Any:
        """Says that the process answers."""
        return contract.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: ServicerContext) -> Any:
        """Says whether the server takes predictions, which it does until it stops."""
        return contract.ServerReadyResponse(ready=not current_call().stopping.is_set())

    def ServerMetadata(self, request: Any, context: ServicerContext) -> Any:
        """Describes the server."""
        return descriptions.server_metadata(software_version())

    def ModelReady(self, request: Any, context: ServicerContext) -> Any:
        """Says whether a version is in memory."""
        return contract.ModelReadyResponse(ready=self._served.is_ready(_choice(request), context))

    def ModelMetadata(self, request: Any, context: ServicerContext) -> Any:
        """Describes a version."""
        model = self._served.describe(_choice(request), context)
        return descriptions.model_metadata(model, self._served.of_model(model.project, model.name, context))

    def ModelConfig(self, request: Any, context: ServicerContext) -> Any:
        """Describes a version in Triton's way."""
        return contract.ModelConfigResponse(config=descriptions.model_config(self._served.describe(_choice(request), context)))

    def ModelStatistics(self, request: Any, context: ServicerContext) -> Any:
        """Tells what was predicted."""
        counted = self._served.counted(request.name, request.version, current_project(), context)
        return model_statistics([counts_of(model) for model in counted])

    async def ModelInfer(self, request: Any, context: ServicerContext) -> Any:
        """Predicts."""
        call = infer_call(request)
        prediction = await self._engine.predict(call.choice, call.inputs, call.output_names, context.time_remaining())
        return infer_response(prediction, call.request_id)

    async def ModelStreamInfer(self, request: Any, context: ServicerContext) -> Any:
        """Predicts on one request of a stream. One that fails is answered with its error, and the stream goes on."""
        try:
            response = await self.ModelInfer(request, context)
        except Exception as error:  # whatever it is, the other requests of the stream are not to blame
            return streamed_failure(request.id, status_of(error, current_call().request_id))
        return streamed_response(response)

    def RepositoryIndex(self, request: Any, context: ServicerContext) -> Any:
        """Lists what is in memory."""
        if request.repository_name:
            raise invalid("repository_name", f"there is one repository, without a name; got `{request.repository_name[:100]}`")
        return descriptions.repository_index(self._served.of_project(current_project(), context), only_ready=request.ready)

    def RepositoryModelLoad(self, request: Any, context: ServicerContext) -> Any:
        """Loads and warms a version."""
        self._served.load(note_model(choice_of_load(request.model_name, values_of(request.parameters))), context)
        return contract.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: ServicerContext) -> Any:
        """Unloads a version, or all of a model."""
        self._served.unload(note_model(choice_of_unload(request.model_name, values_of(request.parameters))), context)
        return contract.RepositoryModelUnloadResponse()

    def SystemSharedMemoryStatus(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def SystemSharedMemoryRegister(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def SystemSharedMemoryUnregister(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def CudaSharedMemoryStatus(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def CudaSharedMemoryRegister(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def CudaSharedMemoryUnregister(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise _no_shared_memory()

    def TraceSetting(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise UnservedExtension("trace settings are not served; the mesh exports traces over OTLP, as the administrator has set it up")

    def LogSettings(self, request: Any, context: ServicerContext) -> NoReturn:
        """Refuses."""
        raise UnservedExtension("log settings are not served; the log level is a setting of the server (log_level)")


def _choice(request: Any) -> ModelChoice:
    return choice_of(request.name, request.version, current_project())


def _no_shared_memory() -> UnservedExtension:
    return UnservedExtension("shared memory is not served; send tensors in the request")
