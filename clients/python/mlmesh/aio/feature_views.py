"""Feature views: groups of features of the same entities, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from mlops.features.v1 import feature_store_service_pb2, feature_view_pb2

from mlmesh.aio.blocking import run_blocking
from mlmesh.aio.feature_entities import EntityCalls
from mlmesh.aio.pages import Pager
from mlmesh.feature_specs import change_view_spec, spec_of
from mlmesh.feature_views import (
    FeatureView,
    FeatureViewLineage,
    FeatureViewStatistics,
    FeatureViewVersion,
    lineage_value,
    statistics_value,
    view_value,
    view_version_value,
)
from mlmesh.features import Features, ViewInputs
from mlmesh.fields import given, mask_of
from mlmesh.job_specs import JobResources
from mlmesh.plan import Relation


class ViewCalls(EntityCalls):
    """Calls about feature views."""

    async def create_view(
        self,
        name: str,
        *,
        entities: str | Sequence[str],
        features: Features,
        event_time: str,
        dataset: str = "",
        sql: str = "",
        plan: Relation | None = None,
        inputs: ViewInputs | None = None,
        keys: Sequence[str] = (),
        push: bool = False,
        write_time: str = "",
        key_columns: Mapping[str, str] | None = None,
        max_age: timedelta | None = None,
        offline_only: bool = False,
        materialize_every: timedelta | None = None,
        engine: str = "",
        resources: JobResources | None = None,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> FeatureView:
        """Makes a feature view of a dataset, of a computation, or of what is pushed. Nothing is computed or materialised yet.

        ```python
        mesh.features.create_view(
            "user_activity", entities="user", dataset="activity", event_time="time", features=["clicks"], max_age=timedelta(days=7)
        )
        mesh.features.create_view(
            "user_week", entities="user", event_time="day", features=["clicks"],
            sql="SELECT user_id, day, sum(clicks) AS clicks FROM activity GROUP BY ALL", inputs={"activity": "activity"}, keys=["user_id"],
        )
        mesh.features.create_view("clicks_live", entities="user", push=True, event_time="time", features={"clicks": "int64"})
        ```

        Args:
            name: Its name: 1 to 100 letters, digits, `_` and `-`.
            entities: Names of its entities; the key of a row has the join keys of all of them.
            features: Its features: names of columns, or by name types or `mlmesh.features.Feature`s.
            event_time: Column with the moment from which on the values of a row are true.
            dataset: The dataset with its rows.
            sql: Instead: one SELECT over `inputs`, as DuckDB reads it, that computes them.
            plan: Instead: a relation over `inputs`, as `mlmesh.plan` makes them.
            inputs: Datasets by the name by which `sql` or `plan` reads them: `"flights"`, or a `PipelineInput`.
            keys: Columns that say which rows of the inputs a row is made of: only what has changed is computed again.
            push: Instead: its rows are pushed alone, and kept in a dataset that the first of them makes.
            write_time: Column with the moment at which a row was written. A training set uses a row only from then on; empty = a row
                counts as known at its event time.
            key_columns: Column of the source that has a join key, by the join key's name; those that are missing have its name.
            max_age: Age from which on values are no longer used, online and in training sets; None = any age.
            offline_only: Whether it is kept offline alone and cannot be served.
            materialize_every: How often the online store is brought up to date by itself; None = only when somebody asks.
            engine: What runs a computation: `local`, `ray`, `dask` or `spark`; empty = `local`.
            resources: What a computation may use; None = the server's default.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            validate_only: Whether the view is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: The view cannot be; the message names the column.
            mlmesh.errors.NotFound: There is no such entity or dataset.
        """
        spec = feature_view_pb2.FeatureViewSpec()
        await run_blocking(
            lambda: change_view_spec(
                spec,
                entities=entities,
                features=features,
                event_time=event_time,
                dataset=dataset,
                sql=sql,
                plan=plan,
                inputs=inputs,
                keys=keys,
                push=push,
                write_time=write_time,
                key_columns=key_columns,
                max_age=max_age,
                offline_only=offline_only,
                materialize_every=materialize_every,
                engine=engine,
                resources=resources,
            )
        )
        return await self.create_feature_view(
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

    async def update_view(
        self,
        name: str,
        *,
        entities: str | Sequence[str] | None = None,
        features: Features | None = None,
        event_time: str | None = None,
        dataset: str | None = None,
        sql: str | None = None,
        plan: Relation | None = None,
        inputs: ViewInputs | None = None,
        keys: Sequence[str] | None = None,
        push: bool | None = None,
        write_time: str | None = None,
        key_columns: Mapping[str, str] | None = None,
        max_age: timedelta | None = None,
        offline_only: bool | None = None,
        materialize_every: timedelta | None = None,
        engine: str | None = None,
        resources: JobResources | None = None,
        validate_only: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeatureView:
        """Changes what a view is; what is None stays. That is another version; those before it go on being served.

        The view is read and written. Where somebody else changes it in between, the call ends with Aborted.

        Args:
            name: Its name.
            entities: Names of its entities.
            features: Its features, all of them.
            event_time: Column with the moment from which on the values of a row are true.
            dataset: The dataset with its rows.
            sql: One SELECT that computes them, with all that belongs to it: `inputs`, `keys`, `engine`, `resources`.
            plan: A relation that they are, likewise.
            inputs: Datasets by the name by which `sql` or `plan` reads them.
            keys: Columns that say which rows of the inputs a row is made of.
            push: Whether its rows are pushed alone.
            write_time: Column with the moment at which a row was written; empty = none any more.
            key_columns: Column of the source that has a join key, by the join key's name.
            max_age: Age from which on values are no longer used; `timedelta(0)` = any age.
            offline_only: Whether it is kept offline alone and cannot be served.
            materialize_every: How often the online store is brought up to date by itself; `timedelta(0)` = only when somebody asks.
            engine: What runs a computation.
            resources: What a computation may use.
            validate_only: Whether the view is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            timeout_s: Deadline of each of both calls, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such view, entity or dataset.
            mlmesh.errors.InvalidArgument: The view cannot be; the message names the column.
            mlmesh.errors.Aborted: Somebody else has changed it meanwhile.
        """
        read = feature_store_service_pb2.GetFeatureViewRequest(name=name, project=project)
        found = await self._caller.unary(self._definitions.GetFeatureView, read, timeout_s=timeout_s)
        await run_blocking(
            lambda: change_view_spec(
                found.spec,
                entities=entities,
                features=features,
                event_time=event_time,
                dataset=dataset,
                sql=sql,
                plan=plan,
                inputs=inputs,
                keys=keys,
                push=push,
                write_time=write_time,
                key_columns=key_columns,
                max_age=max_age,
                offline_only=offline_only,
                materialize_every=materialize_every,
                engine=engine,
                resources=resources,
            )
        )
        return await self.update_feature_view(
            name, spec=found.spec, etag=found.etag, validate_only=validate_only, project=project, timeout_s=timeout_s
        )

    async def create_feature_view(
        self,
        name: str,
        spec: feature_view_pb2.FeatureViewSpec | Mapping[str, Any],
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> FeatureView:
        """Makes a feature view of the contract's own specification; `create_view` takes it in pieces.

        Args:
            name: Its name: 1 to 100 letters, digits, `_` and `-`.
            spec: What it is; a mapping has the contract's own form in JSON, as `spec` of a view.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels.
            validate_only: Whether the view is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: There is one of this name.
            mlmesh.errors.InvalidArgument: The view cannot be; the message names the column.
            mlmesh.errors.NotFound: There is no such entity or dataset.
        """
        request = feature_store_service_pb2.CreateFeatureViewRequest(
            name=name,
            spec=spec_of(feature_view_pb2.FeatureViewSpec, spec),
            display_name=display_name,
            description=description,
            labels=labels or {},
            validate_only=validate_only,
            project=project,
            request_id=request_id,
        )
        return view_value(await self._caller.unary(self._definitions.CreateFeatureView, request, timeout_s=timeout_s))

    async def get_feature_view(
        self, name: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None
    ) -> FeatureView:
        """Returns a feature view, as it is or as a version of it was.

        Args:
            name: Its name.
            version: Its version; None = the newest.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_store_service_pb2.GetFeatureViewRequest(name=name, version=version, project=project)
        return view_value(await self._caller.unary(self._definitions.GetFeatureView, request, timeout_s=timeout_s))

    def list_feature_views(
        self,
        query: str = "",
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[FeatureView]:
        """Searches feature views; by name unless ordered otherwise.

        Args:
            query: Text that has to be in the name, the description or a feature of a view, in any case; empty = all.
            filter: AIP-160 filter over `name`, `display_name`, `labels.<key>`, `creator`, `create_time`, `update_time`, `entity`,
                `feature` and `dataset`, for example `entity = "user" AND feature = "age"`.
            order_by: Of `name`, `create_time` and `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_store_service_pb2.ListFeatureViewsRequest(
            query=query, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._definitions.ListFeatureViews, request, "feature_views", timeout_s, view_value)

    async def update_feature_view(
        self,
        name: str,
        *,
        spec: feature_view_pb2.FeatureViewSpec | Mapping[str, Any] | None = None,
        display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        validate_only: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeatureView:
        """Changes a feature view; what is None stays. Another spec is another version; those before it go on being served.

        Args:
            name: Its name.
            spec: What it is, as a whole; `update_view` changes a part of it.
            display_name: Its name, for people.
            description: What it is for.
            labels: Labels; they take the place of all that there are.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            validate_only: Whether the view is checked alone, and nothing is kept.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such view, entity or dataset.
            mlmesh.errors.InvalidArgument: The view cannot be; the message names the column.
            mlmesh.errors.Aborted: It has changed since it was read.
        """
        message = spec_of(feature_view_pb2.FeatureViewSpec, spec) if spec is not None else None
        changes = given(spec=message, display_name=display_name, description=description, labels=labels)
        view = feature_view_pb2.FeatureView(name=name, project=project, etag=etag, **changes)
        request = feature_store_service_pb2.UpdateFeatureViewRequest(
            feature_view=view, update_mask=mask_of(changes), validate_only=validate_only
        )
        return view_value(await self._caller.unary(self._definitions.UpdateFeatureView, request, timeout_s=timeout_s))

    async def delete_feature_view(self, name: str, *, etag: str = "", project: str = "", timeout_s: float | None = None) -> None:
        """Deletes a feature view that no service has, with its versions, what is online of them, and its pipelines. Datasets stay.

        Args:
            name: Its name.
            etag: The `etag` that was read; where it has changed since, the call ends with Aborted.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FailedPrecondition: A service has it.
        """
        request = feature_store_service_pb2.DeleteFeatureViewRequest(name=name, etag=etag, project=project)
        await self._caller.unary(self._definitions.DeleteFeatureView, request, timeout_s=timeout_s)

    def list_feature_view_versions(
        self,
        name: str,
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[FeatureViewVersion]:
        """Lists the versions of a feature view, the newest first unless ordered otherwise.

        Args:
            name: Its name.
            filter: AIP-160 filter over `version`, `creator` and `create_time`.
            order_by: `version`, with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_store_service_pb2.ListFeatureViewVersionsRequest(
            name=name, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._definitions.ListFeatureViewVersions, request, "versions", timeout_s, view_version_value)

    async def get_feature_view_lineage(self, name: str, *, project: str = "", timeout_s: float | None = None) -> FeatureViewLineage:
        """Returns what a feature view is made of and what is made of it: datasets, pipelines, services, training sets, models.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_store_service_pb2.GetFeatureViewLineageRequest(name=name, project=project)
        return lineage_value(await self._caller.unary(self._definitions.GetFeatureViewLineage, request, timeout_s=timeout_s))

    async def get_feature_view_statistics(
        self,
        name: str,
        *,
        version: int | None = None,
        baseline_version: int | None = None,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeatureViewStatistics:
        """Returns how fresh a feature view is, how many values are null, and how they have moved between two versions of its dataset.

        Args:
            name: Its name.
            version: Version of the view; None = the newest.
            baseline_version: Version of the dataset that drift is measured against; None = the first that is still there.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such view or version.
        """
        request = feature_store_service_pb2.GetFeatureViewStatisticsRequest(
            name=name, version=version, baseline_version=baseline_version, project=project
        )
        return statistics_value(await self._caller.unary(self._definitions.GetFeatureViewStatistics, request, timeout_s=timeout_s))
