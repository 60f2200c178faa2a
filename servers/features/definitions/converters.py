"""Between the contract of definitions and the domain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from mlops.features.v1 import feature_store_service_pb2 as service_pb
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.changes import definition_etag
from servers.features.definitions.records import Entity, OnlineState, Service, ServiceVersion, View, ViewVersion
from servers.features.definitions.services import ServiceRequest
from servers.features.definitions.views import ViewRequest
from servers.features.errors import InvalidDefinition
from servers.features.online import JoinKey, JoinKeyType
from servers.runtime.field_masks import updated_fields
from servers.runtime.paging import Listing, page_size
from servers.runtime.timestamps import timestamp

_IDENTITY = ("name", "project", "etag")
_TEXTS = ("display_name", "description", "labels")


class _ListRequest(Protocol):
    page_size: int
    page_token: str
    filter: str
    order_by: str


def listing_from_proto(request: _ListRequest) -> Listing:
    """Reads which part of a list is wanted."""
    return Listing(page_size(request.page_size), request.page_token, request.filter, request.order_by)


def texts_from_proto(message: Any) -> dict[str, Any]:
    """Reads display name, description and labels. Databases keep no NUL."""
    return {
        "display_name": _without_nul(message.display_name),
        "description": _without_nul(message.description),
        "labels": {_without_nul(key): _without_nul(value) for key, value in message.labels.items()},
    }


def join_keys_from_proto(join_keys: Collection[pb.JoinKey]) -> tuple[JoinKey, ...]:
    """Reads join keys; the contract has checked their types."""
    return tuple(JoinKey(key.name, JoinKeyType(key.type)) for key in join_keys)


def view_request_from_proto(request: service_pb.CreateFeatureViewRequest, project: str) -> ViewRequest:
    """Reads a view that somebody wants."""
    return ViewRequest(project, request.name, request.spec, **texts_from_proto(request))


def service_request_from_proto(request: service_pb.CreateFeatureServiceRequest, project: str) -> ServiceRequest:
    """Reads a service that somebody wants."""
    return ServiceRequest(project, request.name, request.spec, **texts_from_proto(request))


def entity_changes_from_proto(request: service_pb.UpdateEntityRequest) -> dict[str, Any]:
    """Reads what is to change of an entity; its join keys, too, where they are given, to be compared.

    Raises:
        InvalidArgument: The mask names something else.
    """
    changes = _changes(request.update_mask, request.entity, _TEXTS)
    if request.entity.join_keys and not request.update_mask.paths:
        changes["join_keys"] = join_keys_from_proto(request.entity.join_keys)
    return changes


def view_changes_from_proto(request: service_pb.UpdateFeatureViewRequest) -> dict[str, Any]:
    """Reads what is to change of a view.

    Raises:
        InvalidArgument: The mask names something else, or a specification that is not there.
    """
    return _changes(request.update_mask, request.feature_view, ("spec", *_TEXTS), "feature_view")


def service_changes_from_proto(request: service_pb.UpdateFeatureServiceRequest) -> dict[str, Any]:
    """Reads what is to change of a service; otherwise as `view_changes_from_proto`."""
    return _changes(request.update_mask, request.feature_service, ("spec", *_TEXTS), "feature_service")


def entity_to_proto(entity: Entity) -> pb.Entity:
    """Gives an entity as the contract has it."""
    return pb.Entity(
        name=entity.name,
        project=entity.project,
        join_keys=[pb.JoinKey(name=key.name, type=key.type.value) for key in entity.join_keys],
        display_name=entity.display_name,
        description=entity.description,
        labels=entity.labels,
        creator=entity.creator,
        create_time=timestamp(entity.create_time),
        update_time=timestamp(entity.update_time),
        etag=definition_etag(entity),
    )


def view_to_proto(view: View, online: Mapping[str, OnlineState]) -> pb.FeatureView:
    """Gives a view as the contract has it.

    Args:
        view: The view.
        online: Online states by the ids of versions; one that is not there is that of a new version.
    """
    shown = view.shown
    return pb.FeatureView(
        name=view.name,
        project=view.project,
        display_name=view.display_name,
        description=view.description,
        labels=view.labels,
        spec=shown.spec,
        version=shown.version,
        dataset=shown.dataset,
        pipeline=shown.pipeline,
        online=_online(shown, online),
        creator=view.creator,
        create_time=timestamp(view.create_time),
        update_time=timestamp(view.update_time),
        etag=definition_etag(view),
    )


def view_version_to_proto(version: ViewVersion, online: Mapping[str, OnlineState]) -> pb.FeatureViewVersion:
    """Gives a version of a view as the contract has it; otherwise as `view_to_proto`."""
    return pb.FeatureViewVersion(
        version=version.version,
        spec=version.spec,
        dataset=version.dataset,
        pipeline=version.pipeline,
        online=_online(version, online),
        creator=version.creator,
        create_time=timestamp(version.create_time),
    )


def online_state_to_proto(state: OnlineState) -> pb.OnlineState:
    """Gives an online state as the contract has it."""
    return pb.OnlineState(
        dataset_version=state.dataset_version,
        materialize_time=timestamp(state.materialize_time),
        newest_event_time=timestamp(state.newest_event_time),
        written_rows=state.written_rows,
        next_materialize_time=timestamp(state.next_materialize_time),
    )


def service_to_proto(service: Service) -> pb.FeatureService:
    """Gives a service as the contract has it."""
    return pb.FeatureService(
        name=service.name,
        project=service.project,
        display_name=service.display_name,
        description=service.description,
        labels=service.labels,
        spec=service.shown.spec,
        version=service.shown.version,
        creator=service.creator,
        create_time=timestamp(service.create_time),
        update_time=timestamp(service.update_time),
        etag=definition_etag(service),
    )


def service_version_to_proto(version: ServiceVersion) -> pb.FeatureServiceVersion:
    """Gives a version of a service as the contract has it."""
    return pb.FeatureServiceVersion(
        version=version.version, spec=version.spec, creator=version.creator, create_time=timestamp(version.create_time)
    )


def _changes(mask: FieldMask, given: Message, changing: tuple[str, ...], name: str = "") -> dict[str, Any]:
    fixed = {field.name for field in given.DESCRIPTOR.fields} - {*_IDENTITY, *changing}
    paths = updated_fields(mask, given, immutable=fixed, identity=_IDENTITY)
    if deep := sorted(path for path in paths if path not in changing):
        raise InvalidDefinition("update_mask", f"{deep[0]!r} is a part of a field; fields that can be changed: {', '.join(changing)}")
    values = texts_from_proto(given)
    if "spec" in paths:
        if not given.HasField("spec"):
            raise InvalidDefinition(f"{name}.spec", "update_mask names it, and it is not there; give all of it")
        message: Any = given
        values["spec"] = message.spec
    return {field: value for field, value in values.items() if field in paths}


def _online(version: ViewVersion, online: Mapping[str, OnlineState]) -> pb.OnlineState | None:
    return None if version.spec.offline_only else online_state_to_proto(online.get(version.id, OnlineState()))


def _without_nul(text: str) -> str:
    return text.replace("\0", "")
