"""Models of the registry."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Mapping

import grpc
from mlops.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc

from mlmesh.fields import given, mask_of
from mlmesh.sync.calls import Caller
from mlmesh.sync.pages import Pager


class ModelCalls:
    """Calls about models, aliases, and the registry as a whole.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.Channel, caller: Caller) -> None:
        self._stub = registry_service_pb2_grpc.ModelRegistryServiceStub(channel)
        self._caller = caller

    def create_model(
        self,
        name: str,
        *,
        description: str = "",
        display_name: str = "",
        tags: Mapping[str, str] | None = None,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.Model:
        """Creates a model without versions.

        Args:
            name: Name: letters, digits, `.`, `_` and `-`.
            description: What it is for, in Markdown.
            display_name: Name as people write it.
            tags: Tags, for example `{"type": "classifier"}`.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: The name is taken.
        """
        model = model_pb2.Model(name=name, description=description, display_name=display_name, tags=tags, project=project)
        request = registry_service_pb2.CreateModelRequest(model=model, request_id=request_id)
        return self._caller.unary(self._stub.CreateModel, request, timeout_s=timeout_s)

    def get_model(self, name: str, *, project: str = "", timeout_s: float | None = None) -> model_pb2.Model:
        """Returns a model.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = registry_service_pb2.GetModelRequest(name=name, project=project)
        return self._caller.unary(self._stub.GetModel, request, timeout_s=timeout_s)

    def list_models(
        self,
        *,
        filter: str = "",
        order_by: str = "",
        show_deleted: bool = False,
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[model_pb2.Model]:
        """Lists models.

        Args:
            filter: AIP-160 filter, for example `tags.type = "classifier"`.
            order_by: Of `name`, `create_time`, `update_time`, each with ` desc` if wanted.
            show_deleted: Whether deleted models are listed too.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = registry_service_pb2.ListModelsRequest(
            project=project, filter=filter, order_by=order_by, page_size=page_size, show_deleted=show_deleted
        )
        return Pager(self._caller, self._stub.ListModels, request, "models", timeout_s)

    def update_model(
        self,
        name: str,
        *,
        description: str | None = None,
        display_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        project: str = "",
        etag: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.Model:
        """Changes a model; what is None stays.

        Args:
            name: Its name.
            description: What it is for, in Markdown.
            display_name: Name as people write it.
            tags: All tags it has from now on.
            project: Project; empty = `default`.
            etag: The etag last seen; where the model has changed since, the call is refused. Empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Aborted: The model has changed since `etag`.
        """
        changes = given(description=description, display_name=display_name, tags=tags)
        model = model_pb2.Model(name=name, project=project, etag=etag, **changes)
        request = registry_service_pb2.UpdateModelRequest(model=model, update_mask=mask_of(changes))
        return self._caller.unary(self._stub.UpdateModel, request, timeout_s=timeout_s)

    def delete_model(self, name: str, *, project: str = "", etag: str = "", timeout_s: float | None = None) -> None:
        """Deletes a model and its versions; `restore_model` undoes it until the retention ends.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = registry_service_pb2.DeleteModelRequest(name=name, project=project, etag=etag)
        self._caller.unary(self._stub.DeleteModel, request, timeout_s=timeout_s)

    def restore_model(self, name: str, *, project: str = "", timeout_s: float | None = None) -> model_pb2.Model:
        """Undoes `delete_model`.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none, or its retention has ended.
        """
        request = registry_service_pb2.RestoreModelRequest(name=name, project=project)
        return self._caller.unary(self._stub.RestoreModel, request, timeout_s=timeout_s)

    def set_alias(
        self, model: str, alias: str, version: int, *, project: str = "", etag: str = "", timeout_s: float | None = None
    ) -> model_pb2.Model:
        """Points an alias at a version, away from the version it may have pointed at.

        Args:
            model: Name of the model.
            alias: The alias, for example `champion`.
            version: Version number.
            project: Project; empty = `default`.
            etag: The model's etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such version.
        """
        request = registry_service_pb2.SetAliasRequest(model=model, alias=alias, version=version, project=project, etag=etag)
        return self._caller.unary(self._stub.SetAlias, request, timeout_s=timeout_s)

    def delete_alias(self, model: str, alias: str, *, project: str = "", timeout_s: float | None = None) -> model_pb2.Model:
        """Removes an alias.

        Args:
            model: Name of the model.
            alias: The alias.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.DeleteAliasRequest(model=model, alias=alias, project=project)
        return self._caller.unary(self._stub.DeleteAlias, request, timeout_s=timeout_s)

    def get_model_statistics(self, *, project: str = "", timeout_s: float | None = None) -> registry_service_pb2.ModelStatistics:
        """Counts the models, versions and bytes of a project.

        Args:
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.GetModelStatisticsRequest(project=project)
        return self._caller.unary(self._stub.GetModelStatistics, request, timeout_s=timeout_s)

    def collect_garbage(
        self, *, validate_only: bool = False, timeout_s: float | None = None
    ) -> registry_service_pb2.CollectGarbageResponse:
        """Purges what was deleted longer ago than the retention, and removes blobs that nothing refers to.

        Args:
            validate_only: Whether to only say what would be done.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.PermissionDenied: The caller may not (`registry.storage.manage`).
        """
        request = registry_service_pb2.CollectGarbageRequest(validate_only=validate_only)
        return self._caller.unary(self._stub.CollectGarbage, request, timeout_s=timeout_s)
