"""All sides of the protocol, ready to be served."""

from __future__ import annotations

from mlops.features.v1 import feast_service_pb2_grpc
from sqlalchemy import Engine

from servers.features.feast import contract
from servers.features.feast.errors import rest_error
from servers.features.feast.grpc_servicer import GrpcFeatureServerServicer, ServingServiceServicer
from servers.features.feast.online_features import OnlineFeatures
from servers.features.feast.push_sources import PushSources
from servers.features.feast.pushing import FeastPushing
from servers.features.feast.rest_servicer import FeastServicer
from servers.features.serving.plans import ServingPlans
from servers.features.serving.pushing import Pushing
from servers.features.serving.serving import Serving
from servers.features.store.definitions import Definitions
from servers.runtime.registration import Registration

PROJECT_HEADER = "x-mlmesh-project"
"""Header that names the project of a call."""


def feast(
    plans: ServingPlans, serving: Serving, pushing: Pushing, definitions: Definitions, engine: Engine
) -> tuple[Registration, Registration, Registration]:
    """Puts the protocol together.

    Args:
        plans: Say what requests mean.
        serving: Serves features.
        pushing: Takes rows.
        definitions: Know the views.
        engine: The component's database.

    Returns:
        Both gRPC services, and the HTTP side.
    """
    features = OnlineFeatures(plans, serving)
    feast_pushing = FeastPushing(pushing, definitions, PushSources(engine, definitions))
    return (
        Registration(
            contract.add_serving_service_servicer_to_server,
            ServingServiceServicer(features),
            policy=contract.SERVING_SERVICE_POLICIES,
            project_header=PROJECT_HEADER,
        ),
        Registration(
            contract.add_feature_server_servicer_to_server,
            GrpcFeatureServerServicer(features, feast_pushing),
            policy=contract.FEATURE_SERVER_POLICIES,
            project_header=PROJECT_HEADER,
        ),
        Registration(
            feast_service_pb2_grpc.add_FeastServiceServicer_to_server,
            FeastServicer(features, feast_pushing),
            rest_error=rest_error,
            project_header=PROJECT_HEADER,
        ),
    )
