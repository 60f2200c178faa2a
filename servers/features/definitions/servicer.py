"""The contract of definitions: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.empty_pb2 import Empty
from mlops.features.v1 import feature_store_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.features.v1.feature_store_service_pb2_grpc import FeatureStoreServiceServicer

from servers.features.definitions import converters
from servers.features.definitions.entities import EntityManagement
from servers.features.definitions.records import OnlineState, View
from servers.features.definitions.services import ServiceManagement
from servers.features.definitions.views import ViewManagement
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted


class KnowsOnlineStates(Protocol):
    """What is asked for online states; `store.online_states.OnlineStates` is one."""

    def of(self, view_version_ids: Iterable[str]) -> Mapping[str, OnlineState]:
        """Returns the states of versions, as far as they are known."""


@dataclass(frozen=True)
class DefinitionManagement:
    """What makes, changes and deletes definitions."""

    entities: EntityManagement
    views: ViewManagement
    services: ServiceManagement


class FeatureStoreServicer(FeatureStoreServiceServicer):
    """Serves `mlops.features.v1.FeatureStoreService`.

    Args:
        definitions: Entities, views and services.
        online: Knows how the online store stands.
        lineage: Returns what a view is made of, and what is made of it, by project and name.
        statistics: Returns what is in a view, by project, name, version of the view and version of its dataset as a baseline; None = the
            newest, and the first.
    """

    def __init__(
        self,
        definitions: DefinitionManagement,
        online: KnowsOnlineStates,
        lineage: Callable[[str, str], pb.FeatureViewLineage],
        statistics: Callable[[str, str, int | None, int | None], pb.FeatureViewStatistics],
    ) -> None:
        self._entities = definitions.entities
        self._views = definitions.views
        self._services = definitions.services
        self._online = online
        self._lineage = lineage
        self._statistics = statistics

    def CreateEntity(self, request: pb.CreateEntityRequest, context: Any) -> view_pb.Entity:
        join_keys = converters.join_keys_from_proto(request.join_keys)
        texts = converters.texts_from_proto(request)
        return converters.entity_to_proto(self._entities.create(current_project(), request.name, join_keys, current_principal(), **texts))

    def GetEntity(self, request: pb.GetEntityRequest, context: Any) -> view_pb.Entity:
        return converters.entity_to_proto(self._entities.get(current_project(), request.name))

    def ListEntities(self, request: pb.ListEntitiesRequest, context: Any) -> pb.ListEntitiesResponse:
        found, token = self._entities.page(current_project(), converters.listing_from_proto(request))
        return pb.ListEntitiesResponse(entities=map(converters.entity_to_proto, found), next_page_token=token)

    def UpdateEntity(self, request: pb.UpdateEntityRequest, context: Any) -> view_pb.Entity:
        changes = converters.entity_changes_from_proto(request)
        changed = self._entities.update(current_project(), request.entity.name, changes, etag=request.entity.etag)
        return converters.entity_to_proto(changed)

    def DeleteEntity(self, request: pb.DeleteEntityRequest, context: Any) -> Empty:
        self._entities.delete(current_project(), request.name, etag=request.etag)
        return Empty()

    def CreateFeatureView(self, request: pb.CreateFeatureViewRequest, context: Any) -> view_pb.FeatureView:
        wanted = converters.view_request_from_proto(request, current_project())
        made = self._views.create(wanted, current_principal(), check_still_wanted, is_kept=not request.validate_only)
        return self._shown(made)

    def GetFeatureView(self, request: pb.GetFeatureViewRequest, context: Any) -> view_pb.FeatureView:
        return self._shown(self._views.get(current_project(), request.name, request.version))

    def ListFeatureViews(self, request: pb.ListFeatureViewsRequest, context: Any) -> pb.ListFeatureViewsResponse:
        found, token = self._views.page(current_project(), request.query, converters.listing_from_proto(request))
        online = self._online.of(view.shown.id for view in found)
        shown = (converters.view_to_proto(view, online) for view in found)
        return pb.ListFeatureViewsResponse(feature_views=shown, next_page_token=token)

    def UpdateFeatureView(self, request: pb.UpdateFeatureViewRequest, context: Any) -> view_pb.FeatureView:
        changed = self._views.update(
            current_project(),
            request.feature_view.name,
            converters.view_changes_from_proto(request),
            current_principal(),
            check_still_wanted,
            etag=request.feature_view.etag,
            is_kept=not request.validate_only,
        )
        return self._shown(changed)

    def DeleteFeatureView(self, request: pb.DeleteFeatureViewRequest, context: Any) -> Empty:
        self._views.delete(current_project(), request.name, etag=request.etag)
        return Empty()

    def ListFeatureViewVersions(self, request: pb.ListFeatureViewVersionsRequest, context: Any) -> pb.ListFeatureViewVersionsResponse:
        found, token = self._views.versions(current_project(), request.name, converters.listing_from_proto(request))
        online = self._online.of(version.id for version in found)
        shown = (converters.view_version_to_proto(version, online) for version in found)
        return pb.ListFeatureViewVersionsResponse(versions=shown, next_page_token=token)

    def GetFeatureViewLineage(self, request: pb.GetFeatureViewLineageRequest, context: Any) -> pb.FeatureViewLineage:
        return self._lineage(current_project(), request.name)

    def GetFeatureViewStatistics(self, request: pb.GetFeatureViewStatisticsRequest, context: Any) -> pb.FeatureViewStatistics:
        version = request.version if request.HasField("version") else None
        baseline = request.baseline_version if request.HasField("baseline_version") else None
        return self._statistics(current_project(), request.name, version, baseline)

    def CreateFeatureService(self, request: pb.CreateFeatureServiceRequest, context: Any) -> view_pb.FeatureService:
        wanted = converters.service_request_from_proto(request, current_project())
        return converters.service_to_proto(self._services.create(wanted, current_principal(), is_kept=not request.validate_only))

    def GetFeatureService(self, request: pb.GetFeatureServiceRequest, context: Any) -> view_pb.FeatureService:
        return converters.service_to_proto(self._services.get(current_project(), request.name, request.version))

    def ListFeatureServices(self, request: pb.ListFeatureServicesRequest, context: Any) -> pb.ListFeatureServicesResponse:
        found, token = self._services.page(current_project(), converters.listing_from_proto(request))
        return pb.ListFeatureServicesResponse(feature_services=map(converters.service_to_proto, found), next_page_token=token)

    def UpdateFeatureService(self, request: pb.UpdateFeatureServiceRequest, context: Any) -> view_pb.FeatureService:
        changed = self._services.update(
            current_project(),
            request.feature_service.name,
            converters.service_changes_from_proto(request),
            current_principal(),
            etag=request.feature_service.etag,
            is_kept=not request.validate_only,
        )
        return converters.service_to_proto(changed)

    def DeleteFeatureService(self, request: pb.DeleteFeatureServiceRequest, context: Any) -> Empty:
        self._services.delete(current_project(), request.name, etag=request.etag)
        return Empty()

    def ListFeatureServiceVersions(
        self, request: pb.ListFeatureServiceVersionsRequest, context: Any
    ) -> pb.ListFeatureServiceVersionsResponse:
        found, token = self._services.versions(current_project(), request.name, converters.listing_from_proto(request))
        return pb.ListFeatureServiceVersionsResponse(versions=map(converters.service_version_to_proto, found), next_page_token=token)

    def _shown(self, view: View) -> view_pb.FeatureView:
        return converters.view_to_proto(view, self._online.of([view.shown.id]))
