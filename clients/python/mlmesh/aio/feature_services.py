"""Feature services: the features of a model, with the versions of their views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.features.v1 import feature_store_service_pb2, feature_view_pb2

from mlmesh.aio.feature_views import ViewCalls
from mlmesh.aio.pages import Pager
from mlmesh.feature_specs import change_service_spec, spec_of
from mlmesh.feature_views import FeatureService, FeatureServiceVersion, service_value, service_version_value
from mlmesh.features import OnDemandFeatures, Selections
from mlmesh.fields import given, mask_of


class ServiceCalls(ViewCalls):
    """Calls about feature services."""

    async def create_service(
        self,
        name: str,
        selections: Selections,
        *,
        inputs: Mapping[str, str] | None = None,
        on_demand: OnDemandFeatures | None = None,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> FeatureService:
        """Makes a feature service: the features of a model, under a name, with the versions of their views.

        ```python
        from mlmesh.features import select

        mesh.features.create_service(
            "fraud",
            [select("user_activity", features=["clicks"], prefix="u_", keys={"user_id": "sender_id"}), "user_week"],
            inputs={"amount": "float64"},
            on_demand={"ratio": ("amount / u_clicks", "float64")},
        )
        ```

        Args:
            name: Its name: 1 to 100 letters, digits, `_` and `-`.
            selections: Features of views: a view's name for all of its features, or what `mlmesh.features.select` returns.
            inputs: What on-demand features need beside them, by name: `bool`, `int64`, `float64`, `string`, `date` or `timestamp`.
            on_demand: Features that are computed when they are asked for, by name and in order: expression and type.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            validate_only: Whether the service is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: The service cannot be; the message names the feature.
            mlmesh.errors.NotFound: There is no such view or version.
        """
        spec = feature_view_pb2.FeatureServiceSpec()
        change_service_spec(spec, selections=selections, inputs=inputs, on_demand=on_demand)
        return await self.create_feature_service(
            name,
            spec,
            display_name=display_name,
            description=description,
            labels=labels,
            validate_only=validate_only,
            project=project,
            request_id=request_id,
            timeout_s=timeout_s,
        )

    async def update_service(
        self,
        name: str,
        *,
        selections: Selections | None = None,
        inputs: Mapping[str, str] | None = None,
        on_demand: OnDemandFeatures | None = None,
        validate_only: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeatureService:
        """Changes what a service gives; what is None stays. That is another version; those before it go on being served.

        The service is read and written. Where somebody else changes it in between, the call ends with Aborted.

        Args:
            name: Its name.
            selections: Features of views, all of them.
            inputs: Types of what on-demand features need, all of them.
            on_demand: Features that are computed when they are asked for, all of them.
            validate_only: Whether the service is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            timeout_s: Deadline of each of both calls, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such service, view or version.
            mlmesh.errors.InvalidArgument: The service cannot be; the message names the feature.
            mlmesh.errors.Aborted: Somebody else has changed it meanwhile.
        """
        read = feature_store_service_pb2.GetFeatureServiceRequest(name=name, project=project)
        found = await self._caller.unary(self._definitions.GetFeatureService, read, timeout_s=timeout_s)
        change_service_spec(found.spec, selections=selections, inputs=inputs, on_demand=on_demand)
        return await self.update_feature_service(
            name, spec=found.spec, etag=found.etag, validate_only=validate_only, project=project, timeout_s=timeout_s
        )

    async def create_feature_service(
        self,
        name: str,
        spec: feature_view_pb2.FeatureServiceSpec | Mapping[str, Any],
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> FeatureService:
        """Makes a feature service of the contract's own specification; `create_service` takes it in pieces.

        Args:
            name: Its name: 1 to 100 letters, digits, `_` and `-`.
            spec: What it gives; a mapping has the contract's own form in JSON, as `spec` of a service.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            validate_only: Whether the service is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: The service cannot be; the message names the feature.
            mlmesh.errors.NotFound: There is no such view or version.
        """
        request = feature_store_service_pb2.CreateFeatureServiceRequest(
            name=name,
            spec=spec_of(feature_view_pb2.FeatureServiceSpec, spec),
            display_name=display_name,
            description=description,
            labels=labels or {},
            validate_only=validate_only,
            project=project,
            request_id=request_id,
        )
        return service_value(await self._caller.unary(self._definitions.CreateFeatureService, request, timeout_s=timeout_s))

    async def get_feature_service(
        self, name: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None
    ) -> FeatureService:
        """Returns a feature service, as it is or as a version of it was.

        Args:
            name: Its name.
            version: Its version; None = the newest.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_store_service_pb2.GetFeatureServiceRequest(name=name, version=version, project=project)
        return service_value(await self._caller.unary(self._definitions.GetFeatureService, request, timeout_s=timeout_s))

    def list_feature_services(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[FeatureService]:
        """Lists feature services by name unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `name`, `display_name`, `labels.<key>`, `creator`, `create_time`, `update_time` and `view`.
            order_by: Of `name`, `create_time` and `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_store_service_pb2.ListFeatureServicesRequest(
            project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._definitions.ListFeatureServices, request, "feature_services", timeout_s, service_value)

    async def update_feature_service(
        self,
        name: str,
        *,
        spec: feature_view_pb2.FeatureServiceSpec | Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        validate_only: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeatureService:
        """Changes a feature service; what is None stays. Another spec is another version; those before it go on being served.

        Args:
            name: Its name.
            spec: What it gives, as a whole; `update_service` changes a part of it.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels; they take the place of all that there are.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            validate_only: Whether the service is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such service, view or version.
            mlmesh.errors.InvalidArgument: The service cannot be; the message names the feature.
            mlmesh.errors.Aborted: It has changed since it was read.
        """
        message = spec_of(feature_view_pb2.FeatureServiceSpec, spec) if spec is not None else None
        changes = given(spec=message, display_name=display_name, description=description, labels=labels)
        service = feature_view_pb2.FeatureService(name=name, project=project, etag=etag, **changes)
        request = feature_store_service_pb2.UpdateFeatureServiceRequest(
            feature_service=service, update_mask=mask_of(changes), validate_only=validate_only
        )
        return service_value(await self._caller.unary(self._definitions.UpdateFeatureService, request, timeout_s=timeout_s))

    async def delete_feature_service(self, name: str, *, etag: str = "", project: str = "", timeout_s: float | None = None) -> None:
        """Deletes a feature service with its versions.

        Args:
            name: Its name.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_store_service_pb2.DeleteFeatureServiceRequest(name=name, etag=etag, project=project)
        await self._caller.unary(self._definitions.DeleteFeatureService, request, timeout_s=timeout_s)

    def list_feature_service_versions(
        self,
        name: str,
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[FeatureServiceVersion]:
        """Lists the versions of a feature service, the newest first unless ordered otherwise.

        Args:
            name: Its name.
            filter: AIP-160 filter over `version`, `creator` and `create_time`.
            order_by: `version`, with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_store_service_pb2.ListFeatureServiceVersionsRequest(
            name=name, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._definitions.ListFeatureServiceVersions, request, "versions", timeout_s, service_version_value)
