"""`feast.serving.ServingService` and `GrpcFeatureServer`: convert, call, convert."""

from __future__ import annotations

from typing import Any

from servers.features.definitions.records import ViewVersion
from servers.features.feast import contract
from servers.features.feast.errors import InvalidFeastRequest
from servers.features.feast.grpc_values import answer_message, asked_by, columns_of, json_value, read_value_column
from servers.features.feast.online_features import OnlineFeatures
from servers.features.feast.pushed_columns import Columns, columns_of_texts
from servers.features.feast.pushing import FeastPushing
from servers.runtime.auth import current_principal, current_project
from servers.runtime.server import software_version
from servers.runtime.still_wanted import check_still_wanted


class ServingServiceServicer:
    """Serves `feast.serving.ServingService`; register it with `contract.add_serving_service_servicer_to_server`.

    Args:
        features: Serves features.
    """

    def __init__(self, features: OnlineFeatures) -> None:
        self._features = features

    def GetFeastServingInfo(self, request: Any, context: Any) -> Any:
        """Names the version of the mesh."""
        return contract.GetFeastServingInfoResponse(version=software_version())

    def GetOnlineFeatures(self, request: Any, context: Any) -> Any:
        """Serves features."""
        return _online_features(self._features, request)


class GrpcFeatureServerServicer:
    """Serves `GrpcFeatureServer`; register it with `contract.add_feature_server_servicer_to_server`.

    Args:
        features: Serves features.
        pushing: Takes rows.
    """

    def __init__(self, features: OnlineFeatures, pushing: FeastPushing) -> None:
        self._features = features
        self._pushing = pushing

    def GetOnlineFeatures(self, request: Any, context: Any) -> Any:
        """Serves features."""
        return _online_features(self._features, request)

    def Push(self, request: Any, context: Any) -> Any:
        """Takes rows of a push source."""
        source = request.stream_feature_view
        self._pushing.push(current_project(), current_principal(), source, _Row(request).columns, request.to, check_still_wanted)
        return contract.PushResponse(status=True)

    def WriteToOnlineStore(self, request: Any, context: Any) -> Any:
        """Takes rows of a view into the online store alone."""
        view = request.feature_view_name
        self._pushing.write(current_project(), current_principal(), view, _Row(request).columns, check_still_wanted)
        return contract.WriteToOnlineStoreResponse(status=True)


class _Row:
    """The one row of a push, as texts or as values."""

    def __init__(self, request: Any) -> None:
        if request.features and request.typed_features:
            raise InvalidFeastRequest("typed_features", "is there beside features; give the row in one of them")
        self._texts = dict(request.features)
        self._values = {name: [json_value(name, value)] for name, value in request.typed_features.items()}

    def columns(self, view: ViewVersion) -> Columns:
        return self._values or columns_of_texts(view, self._texts)


def _online_features(features: OnlineFeatures, request: Any) -> Any:
    columns = columns_of(request)
    return answer_message(features.serve(current_project(), asked_by(request), columns, read_value_column), columns)
