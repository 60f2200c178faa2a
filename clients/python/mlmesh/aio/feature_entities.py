"""Entities: what features are of."""

from __future__ import annotations

from collections.abc import Mapping

import grpc.aio
from mlops.features.v1 import (
    feature_job_service_pb2_grpc,
    feature_serving_service_pb2_grpc,
    feature_store_service_pb2,
    feature_store_service_pb2_grpc,
    feature_view_pb2,
)

from mlmesh.aio.calls import Caller
from mlmesh.aio.pages import Pager
from mlmesh.feature_views import Entity, entity_value
from mlmesh.fields import given, mask_of


class EntityCalls:
    """Calls about entities.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._definitions = feature_store_service_pb2_grpc.FeatureStoreServiceStub(channel)
        self._serving = feature_serving_service_pb2_grpc.FeatureServingServiceStub(channel)
        self._jobs = feature_job_service_pb2_grpc.FeatureJobServiceStub(channel)
        self._caller = caller

    async def create_entity(
        self,
        name: str,
        join_keys: Mapping[str, str],
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Entity:
        """Makes an entity: what features are of, such as a user, a flight or a pair of accounts.

        ```python
        mesh.features.create_entity("user", {"user_id": "int64"})
        ```

        Args:
            name: Its name: 1 to 100 letters, digits, `_` and `-`.
            join_keys: Its key, which never changes: types by name, `bool`, `int64`, `string`, `bytes`, `date` or `timestamp`.
            display_name: Its name, for people.
            description: What it is.
            labels: Labels.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: A name or a type is none.
        """
        request = feature_store_service_pb2.CreateEntityRequest(
            name=name,
            join_keys=[feature_view_pb2.JoinKey(name=key, type=kind) for key, kind in join_keys.items()],
            display_name=display_name,
            description=description,
            labels=labels or {},
            project=project,
            request_id=request_id,
        )
        return entity_value(await self._caller.unary(self._definitions.CreateEntity, request, timeout_s=timeout_s))

    async def get_entity(self, name: str, *, project: str = "", timeout_s: float | None = None) -> Entity:
        """Returns an entity.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_store_service_pb2.GetEntityRequest(name=name, project=project)
        return entity_value(await self._caller.unary(self._definitions.GetEntity, request, timeout_s=timeout_s))

    def list_entities(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Entity]:
        """Lists entities by name unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `name`, `display_name`, `labels.<key>`, `creator`, `create_time` and `update_time`.
            order_by: Of `name`, `create_time` and `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_store_service_pb2.ListEntitiesRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._definitions.ListEntities, request, "entities", timeout_s, entity_value)

    async def update_entity(
        self,
        name: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        project: str = "",
        timeout_s: float | None = None,
    ) -> Entity:
        """Changes what people read of an entity. What is None stays.

        Args:
            name: Its name.
            display_name: Its name, for people.
            description: What it is.
            labels: Labels; they take the place of all that there are.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.Aborted: It has changed since it was read.
        """
        changes = given(display_name=display_name, description=description, labels=labels)
        entity = feature_view_pb2.Entity(name=name, project=project, etag=etag, **changes)
        request = feature_store_service_pb2.UpdateEntityRequest(entity=entity, update_mask=mask_of(changes))
        return entity_value(await self._caller.unary(self._definitions.UpdateEntity, request, timeout_s=timeout_s))

    async def delete_entity(self, name: str, *, etag: str = "", project: str = "", timeout_s: float | None = None) -> None:
        """Deletes an entity that no view has.

        Args:
            name: Its name.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: A view has it.
        """
        request = feature_store_service_pb2.DeleteEntityRequest(name=name, etag=etag, project=project)
        await self._caller.unary(self._definitions.DeleteEntity, request, timeout_s=timeout_s)
