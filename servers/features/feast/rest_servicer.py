"""Feast's feature server over HTTP: convert, call, convert."""

from __future__ import annotations

from typing import Any

from google.api import httpbody_pb2
from mlops.features.v1 import feast_service_pb2 as pb
from mlops.features.v1.feast_service_pb2_grpc import FeastServiceServicer

from servers.features.feast.json_body import answer_json, asked_in, columns_in, document_of, text_in
from servers.features.feast.json_entities import read_json_column
from servers.features.feast.online_features import OnlineFeatures
from servers.features.feast.pushing import FeastPushing
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted

_JSON = "application/json"
_NOTHING = b"null"


class FeastServicer(FeastServiceServicer):
    """Serves `mlops.features.v1.FeastService`.

    Args:
        features: Serves features.
        pushing: Takes rows.
    """

    def __init__(self, features: OnlineFeatures, pushing: FeastPushing) -> None:
        self._features = features
        self._pushing = pushing

    def GetOnlineFeatures(self, request: pb.GetOnlineFeaturesRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Serves features."""
        document = document_of(request.body.data)
        entities = columns_in(document, "entities")
        return _json(answer_json(self._features.serve(current_project(), asked_in(document), entities, read_json_column), entities))

    def Push(self, request: pb.PushRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Takes rows of a push source."""
        document = document_of(request.body.data)
        source, to, columns = text_in(document, "push_source_name"), text_in(document, "to", "online"), columns_in(document, "df")
        self._pushing.push(current_project(), current_principal(), source, lambda _: columns, to, check_still_wanted)
        return _json(_NOTHING)

    def WriteToOnlineStore(self, request: pb.WriteToOnlineStoreRequest, context: Any) -> httpbody_pb2.HttpBody:
        """Takes rows of a view into the online store alone."""
        document = document_of(request.body.data)
        view, columns = text_in(document, "feature_view_name"), columns_in(document, "df")
        self._pushing.write(current_project(), current_principal(), view, lambda _: columns, check_still_wanted)
        return _json(_NOTHING)


def _json(data: bytes) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type=_JSON, data=data)
