"""The contract of serving features: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from typing import Any

from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1.feature_serving_service_pb2_grpc import FeatureServingServiceServicer

from servers.features.serving.pushing import Pushing
from servers.features.serving.serving import Serving
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted


class ServingServicer(FeatureServingServiceServicer):
    """Serves `mlops.features.v1.FeatureServingService`.

    Args:
        serving: Serves features.
        pushing: Takes rows.
    """

    def __init__(self, serving: Serving, pushing: Pushing) -> None:
        self._serving = serving
        self._pushing = pushing

    def ServeFeatures(self, request: pb.ServeFeaturesRequest, context: Any) -> pb.ServeFeaturesResponse:
        return self._serving.serve(current_project(), request)

    def PushFeatures(self, request: pb.PushFeaturesRequest, context: Any) -> pb.PushFeaturesResponse:
        return self._pushing.push(current_project(), current_principal(), request, check_still_wanted)
