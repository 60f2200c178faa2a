"""The contract of training sets and materialisations: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from typing import Any

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1.feature_job_service_pb2_grpc import FeatureJobServiceServicer

from servers.features.jobs import converters
from servers.features.jobs.materializations import Materializing
from servers.features.jobs.training_sets import MakingTrainingSets
from servers.runtime.auth import current_principal, current_project


class FeatureJobServicer(FeatureJobServiceServicer):
    """Serves `mlops.features.v1.FeatureJobService`.

    Args:
        training_sets: Takes training sets.
        materializing: Takes materialisations.
    """

    def __init__(self, training_sets: MakingTrainingSets, materializing: Materializing) -> None:
        self._training_sets = training_sets
        self._materializing = materializing

    def CreateTrainingSet(self, request: pb.CreateTrainingSetRequest, context: Any) -> pb.TrainingSet:
        wanted = converters.request_from_proto(request, current_project())
        take = self._training_sets.foreseen if request.validate_only else self._training_sets.create
        return converters.training_set_to_proto(take(wanted, current_principal()))

    def GetTrainingSet(self, request: pb.GetTrainingSetRequest, context: Any) -> pb.TrainingSet:
        return converters.training_set_to_proto(self._training_sets.get(current_project(), request.id.lower()))

    def ListTrainingSets(self, request: pb.ListTrainingSetsRequest, context: Any) -> pb.ListTrainingSetsResponse:
        found, token = self._training_sets.page(current_project(), converters.listing_from_proto(request))
        return pb.ListTrainingSetsResponse(training_sets=map(converters.training_set_to_proto, found), next_page_token=token)

    def CancelTrainingSet(self, request: pb.CancelTrainingSetRequest, context: Any) -> pb.TrainingSet:
        return converters.training_set_to_proto(self._training_sets.cancel(current_project(), request.id.lower()))

    def MaterializeFeatureView(self, request: pb.MaterializeFeatureViewRequest, context: Any) -> pb.Materialization:
        mode, creator = converters.mode_from_proto(request), current_principal().display_name
        return converters.materialization_to_proto(
            self._materializing.start(current_project(), request.name, request.version, mode, creator)
        )

    def GetMaterialization(self, request: pb.GetMaterializationRequest, context: Any) -> pb.Materialization:
        return converters.materialization_to_proto(self._materializing.get(current_project(), request.id.lower()))

    def ListMaterializations(self, request: pb.ListMaterializationsRequest, context: Any) -> pb.ListMaterializationsResponse:
        found, token = self._materializing.page(current_project(), converters.listing_from_proto(request))
        return pb.ListMaterializationsResponse(materializations=map(converters.materialization_to_proto, found), next_page_token=token)

    def CancelMaterialization(self, request: pb.CancelMaterializationRequest, context: Any) -> pb.Materialization:
        return converters.materialization_to_proto(self._materializing.cancel(current_project(), request.id.lower()))
