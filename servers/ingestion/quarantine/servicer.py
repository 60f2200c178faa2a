"""The contract of the quarantine: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import quarantine_service_pb2 as pb
from mlops.ingestion.v1.quarantine_service_pb2_grpc import QuarantineServiceServicer

from servers.ingestion.converters import ingestion_to_proto, listing_from_proto, mode_from_proto
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.quarantine import converters
from servers.ingestion.quarantine.quarantine import Quarantine
from servers.ingestion.requested import awaited, requested
from servers.runtime.auth import current_project
from servers.runtime.still_wanted import check_still_wanted


class QuarantineServicer(QuarantineServiceServicer):
    """Serves `mlops.ingestion.v1.QuarantineService`.

    Args:
        quarantine: Rows in quarantine.
        ingesting: Waits for ingestions.
        clock: The time now.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        ingesting: Ingesting,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._quarantine = quarantine
        self._ingesting = ingesting
        self._clock = clock

    def ListQuarantinedRows(self, request: pb.ListQuarantinedRowsRequest, context: Any) -> pb.ListQuarantinedRowsResponse:
        rows, token = self._quarantine.page(current_project(), request.dataset, listing_from_proto(request), check_still_wanted)
        return pb.ListQuarantinedRowsResponse(rows=map(converters.row_to_proto, rows), next_page_token=token)

    def ReplayQuarantinedRows(self, request: pb.ReplayQuarantinedRowsRequest, context: Any) -> ingestion_pb2.Ingestion:
        started = self._ingesting.made_before(current_project())
        if started is None:
            source, work = f"quarantine of {request.dataset}", converters.replay_from_proto(request)
            new = requested(request.dataset, source, mode_from_proto(request.mode), work, self._clock())
            started = self._quarantine.replay(new, check_still_wanted)
        return ingestion_to_proto(awaited(self._ingesting, started, request.wait))

    def DiscardQuarantinedRows(self, request: pb.DiscardQuarantinedRowsRequest, context: Any) -> pb.DiscardQuarantinedRowsResponse:
        selected = converters.selection_from_proto(request)
        return pb.DiscardQuarantinedRowsResponse(
            removed_row_count=self._quarantine.discard(current_project(), request.dataset, selected, check_still_wanted)
        )
