"""Schemas of datasets: their history, and changes that data alone do not make."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import schema_service_pb2, schema_service_pb2_grpc

from mlmesh.ingestions import Ingestion, ingestion_value
from mlmesh.patience import Patience
from mlmesh.schemas import SchemaVersion, schema_version_value
from mlmesh.sync.calls import Caller
from mlmesh.sync.ingestion import IngestionClient
from mlmesh.sync.pages import Pager

_LONGEST_WAIT_S = 30
"""What the mesh waits at most before it answers."""


class SchemasClient:
    """Knows and changes the schemas of datasets.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.Channel, caller: Caller) -> None:
        self._stub = schema_service_pb2_grpc.DatasetSchemaServiceStub(channel)
        self._caller = caller
        self._ingestion = IngestionClient(channel, caller)

    def list_schema_versions(
        self, dataset: str, *, project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[SchemaVersion]:
        """Lists the schemas that a dataset has had, the newest first.

        Args:
            dataset: Name of the dataset.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = schema_service_pb2.ListSchemaVersionsRequest(dataset=dataset, project=project, page_size=page_size)
        return Pager(self._caller, self._stub.ListSchemaVersions, request, "schemas", timeout_s, schema_version_value)

    def change_schema(
        self,
        dataset: str,
        *,
        rename: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
        validate_only: bool = False,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Ingestion:
        """Renames and drops columns, as a new version; the versions before keep theirs. Rows that others write meanwhile are not lost.

        Data that are taken in from then on have to have the new names. The work outlives this call, this program and the server: whoever
        stops waiting finds it again with `ingestion.get_ingestion`.

        Args:
            dataset: Name of the dataset.
            rename: New names by old names. Names may be exchanged: `{"a": "b", "b": "a"}`.
            drop: Columns to drop. At least one column stays.
            validate_only: Whether nothing is changed, and the answer says what would be: `affected` has what uses the columns.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` or with `validate_only` the
                deadline of the call; None = the connection's.

        Returns:
            The ingestion that makes the change, succeeded; without `wait` as it is after the mesh has accepted it. With `validate_only` as
            it would end, also where it would fail.

        Raises:
            mlmesh.errors.InvalidArgument: The change contradicts itself.
            mlmesh.errors.NotFound: There is no such dataset.
            mlmesh.errors.IngestionFailed: There is no such column, a name is taken, or it was cancelled.
            mlmesh.errors.IngestionUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        # Half of the time for the wait, so that an answer comes before the deadline.
        deadline_s = self._caller.deadline_s(schema_service_pb2.ChangeSchemaRequest, timeout_s)
        request = schema_service_pb2.ChangeSchemaRequest(
            dataset=dataset,
            project=project,
            renamed_columns=rename,
            dropped_columns=drop,
            validate_only=validate_only,
            wait=Duration(seconds=int(min(_LONGEST_WAIT_S, deadline_s / 2))) if wait else None,
            request_id=request_id,
        )
        accepted = ingestion_value(self._caller.unary(self._stub.ChangeSchema, request, timeout_s=timeout_s))
        if validate_only or not wait or accepted.is_successful:
            return accepted
        return self._ingestion.wait_for_ingestion(accepted.id, project=project, timeout_s=patience.left_s())
