"""Both sides of the protocol, ready to be served."""

from __future__ import annotations

from mlops.serving.v1 import open_inference_service_pb2_grpc

from servers.runtime.registration import Registration
from servers.serving.engine import PredictionEngine
from servers.serving.open_inference import contract
from servers.serving.open_inference.errors import rest_error
from servers.serving.open_inference.grpc_servicer import GrpcInferenceServicer
from servers.serving.open_inference.model_names import PROJECT_HEADER
from servers.serving.open_inference.rest_infer import RestInferReader
from servers.serving.open_inference.rest_servicer import OpenInferenceServicer
from servers.serving.open_inference.served_models import ServedModels
from servers.serving.resolution import Resolver
from servers.serving.servicer import ServingServicer
from servers.serving.settings import ServingSettings


def open_inference(
    engine: PredictionEngine, resolver: Resolver, servicer: ServingServicer, settings: ServingSettings
) -> tuple[Registration, Registration]:
    """Puts the protocol together.

    Args:
        engine: Answers predictions.
        resolver: Finds versions.
        servicer: Lists, loads and unloads.
        settings: Limits of bodies.

    Returns:
        The gRPC side and the REST side.
    """
    served = ServedModels(resolver, servicer)
    reader = RestInferReader(settings.max_json_bytes, settings.max_message_bytes)
    return (
        Registration(
            contract.add_grpc_inference_servicer_to_server,
            GrpcInferenceServicer(engine, served),
            policy=contract.POLICIES,
            project_header=PROJECT_HEADER,
        ),
        Registration(
            open_inference_service_pb2_grpc.add_OpenInferenceServiceServicer_to_server,
            OpenInferenceServicer(engine, served, reader),
            rest_error=rest_error,
            project_header=PROJECT_HEADER,
        ),
    )
