"""The quarantine: rows that were left out of datasets, until they are replayed or discarded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import ingestion_pb2, quarantine_service_pb2, quarantine_service_pb2_grpc

from mlmesh.aio.calls import Caller
from mlmesh.aio.ingestion import IngestionClient
from mlmesh.aio.pages import Pager
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import ExpectationGate, SchemaContract
from mlmesh.ingestions import Ingestion, ingestion_value
from mlmesh.patience import Patience
from mlmesh.quarantined_rows import QuarantinedRow, quarantined_row_value, repair_messages

_LONGEST_WAIT_S = 30
"""What the mesh waits at most before it answers."""


class QuarantineClient:
    """Looks at rows in quarantine, replays and discards them.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = quarantine_service_pb2_grpc.QuarantineServiceStub(channel)
        self._caller = caller
        self._ingestion = IngestionClient(channel, caller)

    def list_quarantined_rows(
        self,
        dataset: str,
        *,
        filter: str = "",
        order_by: str = "",
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[QuarantinedRow]:
        """Lists the rows in quarantine of a dataset, those of the newest ingestion first unless ordered otherwise.

        Args:
            dataset: Name of the dataset.
            filter: AIP-160 filter over `ingestion_id`, `producer`, `subscription`, `column`, `reason` and `quarantine_time`, for example
                `reason = "VALUE_DOES_NOT_FIT"`.
            order_by: Of `quarantine_time`, `ingestion_id`, each with ` desc` if wanted. Rows of an ingestion are in their order.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50. A page has fewer where rows are large.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = quarantine_service_pb2.ListQuarantinedRowsRequest(
            dataset=dataset, project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._stub.ListQuarantinedRows, request, "rows", timeout_s, quarantined_row_value)

    async def replay_quarantined_rows(
        self,
        dataset: str,
        *,
        ids: Sequence[str] = (),
        filter: str = "",
        repairs: Mapping[str, Mapping[str, Any]] | None = None,
        mode: str = "append",
        keys: Sequence[str] = (),
        schema_contract: SchemaContract | None = None,
        gate: ExpectationGate | None = None,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Ingestion:
        """Writes rows in quarantine into their dataset, and waits until they are there.

        It is an ingestion: what it writes leaves the quarantine, and what it leaves out again stays there with its new reason.

        Args:
            dataset: Name of the dataset.
            ids: The rows, by their identifiers.
            filter: The rows, by an AIP-160 filter as in `list_quarantined_rows`, instead of `ids`. Without ids, filter and repairs all rows
                are replayed.
            repairs: Values that take the place of a row's own, by column, by the identifier of the row. Bytes are given in base64, times as
                text. These rows are replayed beside those that are named.
            mode: `append`, or `upsert`, which replaces rows that have the same keys.
            keys: Columns that tell rows apart; for `upsert`.
            schema_contract: What may change of the dataset; None = nothing, and rows that do not fit stay in quarantine.
            gate: What the rows have to meet; None = nothing.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` the deadline of the call;
                None = the connection's.

        Returns:
            The ingestion, succeeded; without `wait` as it is after the mesh has accepted it.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset, or no such row in its quarantine.
            mlmesh.errors.InvalidArgument: The filter is wrong, or a repair cannot be sent.
            mlmesh.errors.IngestionFailed: It failed, or was cancelled.
            mlmesh.errors.IngestionUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        # Half of the time for the wait, so that an answer comes before the deadline.
        deadline_s = self._caller.deadline_s(quarantine_service_pb2.ReplayQuarantinedRowsRequest, timeout_s)
        request = quarantine_service_pb2.ReplayQuarantinedRowsRequest(
            dataset=dataset,
            project=project,
            ids=ids,
            filter=filter,
            repairs=repair_messages(repairs or {}),
            mode=enum_value(ingestion_pb2.WriteMode, mode),
            keys=keys,
            schema_contract=schema_contract.message() if schema_contract is not None else None,
            gate=gate.message() if gate is not None else None,
            wait=Duration(seconds=int(min(_LONGEST_WAIT_S, deadline_s / 2))) if wait else None,
            request_id=request_id,
        )
        accepted = ingestion_value(await self._caller.unary(self._stub.ReplayQuarantinedRows, request, timeout_s=timeout_s))
        if not wait or accepted.is_successful:
            return accepted
        return await self._ingestion.wait_for_ingestion(accepted.id, project=project, timeout_s=patience.left_s())

    async def discard_quarantined_rows(
        self, dataset: str, *, ids: Sequence[str] = (), filter: str = "", project: str = "", timeout_s: float | None = None
    ) -> int:
        """Removes rows from quarantine for good. Rows that are not there any more count for nothing.

        Args:
            dataset: Name of the dataset.
            ids: The rows, by their identifiers.
            filter: The rows, by an AIP-160 filter as in `list_quarantined_rows`, instead of `ids`. Without either, all rows are removed.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            Rows that were removed.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset.
            mlmesh.errors.InvalidArgument: The filter is wrong.
        """
        request = quarantine_service_pb2.DiscardQuarantinedRowsRequest(dataset=dataset, project=project, ids=ids, filter=filter)
        answer = await self._caller.unary(self._stub.DiscardQuarantinedRows, request, timeout_s=timeout_s)
        return int(answer.removed_row_count)
