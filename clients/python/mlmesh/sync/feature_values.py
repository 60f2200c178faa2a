"""Features as they are now, and rows that bring them there."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops.features.v1 import feature_serving_service_pb2, feature_view_pb2
from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.feature_columns import Columns, values_by_name
from mlmesh.feature_specs import service_or_selections
from mlmesh.features import Selections
from mlmesh.fields import enum_value
from mlmesh.pushed_rows import PushedRows, PushResult, push_data, push_result_value, push_target
from mlmesh.served_features import ServedFeatures
from mlmesh.sync.blocking import run_blocking
from mlmesh.sync.feast_imports import FeastImportCalls


class FeatureValueCalls(FeastImportCalls):
    """Calls that serve features, and take them."""

    def serve(
        self,
        features: Selections,
        entities: Columns,
        *,
        inputs: Columns | None = None,
        version: int = 0,
        include_event_times: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> ServedFeatures:
        """Returns the newest features of entities, in the order in which they are asked for.

        ```python
        found = mesh.features.serve("fraud", {"sender_id": [7, 8]}, inputs={"amount": [20.0, 35.5]})
        found["ratio"]  # a list, with None where there is no value
        found.statuses("ratio")  # why
        found.to_pandas()
        ```

        Args:
            features: Name of a feature service; or a list of views and what `mlmesh.features.select` returns.
            entities: Join keys by name, each a list, an array of numpy, a column of pandas, Polars or Arrow, or one value for one row; or a
                table of them.
            inputs: What on-demand features need, likewise; None = nothing.
            version: Version of the service; 0 = the newest.
            include_event_times: Whether the answer has event times.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such service, view, version or feature.
            mlmesh.errors.InvalidArgument: A join key or an input is missing, has another type, or another number of rows than the others.
        """
        service, selections = service_or_selections(features)
        answer = self.serve_features(
            service,
            entities=values_by_name(entities),
            feature_service_version=version,
            selections=selections,
            request_inputs=values_by_name(inputs) if inputs is not None else None,
            include_event_times=include_event_times,
            project=project,
            timeout_s=timeout_s,
        )
        return ServedFeatures(answer)

    def push(
        self,
        view: str,
        rows: PushedRows,
        *,
        online: bool = True,
        offline: bool = True,
        version: int = 0,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> PushResult:
        """Brings rows of a view into the online store, where the next call finds them, and into the dataset that training sets read.

        ```python
        mesh.features.push("clicks_live", [{"user_id": 7, "time": datetime.now(timezone.utc), "clicks": 3}])
        ```

        Args:
            view: The view.
            rows: Mappings by column, or a table of Arrow, pandas or Polars: keys, event time and features, as the view's source has them.
            online: Whether they go into the online store. Of what comes late it keeps what is newer.
            offline: Whether they go into the dataset. A view that is computed takes none there.
            version: Version of the view; 0 = the newest.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            What the online store has taken, and the ingestion, which goes on.

        Raises:
            mlmesh.errors.NotFound: There is no such view or version.
            mlmesh.errors.InvalidArgument: A column is missing, or a value has another type than its feature.
            mlmesh.errors.FailedPrecondition: The view takes no rows there.
        """
        target = push_target(online=online, offline=offline)
        answer = self.push_features(
            view,
            run_blocking(push_data, rows),
            target=target,
            version=version,
            project=project,
            request_id=request_id,
            timeout_s=timeout_s,
        )
        return push_result_value(answer)

    def serve_features(
        self,
        feature_service: str = "",
        *,
        entities: Mapping[str, feature_serving_service_pb2.Values],
        feature_service_version: int = 0,
        selections: Sequence[feature_view_pb2.FeatureSelection] = (),
        request_inputs: Mapping[str, feature_serving_service_pb2.Values] | None = None,
        include_event_times: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> feature_serving_service_pb2.ServeFeaturesResponse:
        """Returns the newest features of entities as they travel; `serve` takes and gives what people hold in their hands.

        Args:
            feature_service: The service whose features are wanted; empty = `selections` say which.
            entities: Join keys by name, each with as many values (`mlmesh.feature_columns.values_message` makes them).
            feature_service_version: Version of the service; 0 = the newest.
            selections: Features of views, where no service is named.
            request_inputs: What on-demand features need, by name.
            include_event_times: Whether the answer has event times.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = feature_serving_service_pb2.ServeFeaturesRequest(
            feature_service=feature_service,
            feature_service_version=feature_service_version,
            selections=selections,
            entities=entities,
            request_inputs=request_inputs,
            include_event_times=include_event_times,
            project=project,
        )
        return self._caller.unary(self._serving.ServeFeatures, request, timeout_s=timeout_s)

    def push_features(
        self,
        name: str,
        data: ingestion_pb2.InlineRows | bytes,
        *,
        target: str = "online_and_offline",
        version: int = 0,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> feature_serving_service_pb2.PushFeaturesResponse:
        """Brings rows into a view as they travel; `push` takes what people hold in their hands.

        Args:
            name: The view.
            data: The rows, or bytes of a stream of Arrow's IPC format.
            target: Where they go: `online_and_offline`, `online` or `offline`.
            version: Version of the view; 0 = the newest.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = feature_serving_service_pb2.PushFeaturesRequest(
            name=name,
            target=enum_value(feature_serving_service_pb2.PushTarget, target),
            version=version,
            project=project,
            request_id=request_id,
        )
        if isinstance(data, bytes):
            request.arrow_stream = data
        else:
            request.rows.CopyFrom(data)
        return self._caller.unary(self._serving.PushFeatures, request, timeout_s=timeout_s)
