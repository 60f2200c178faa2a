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
from servers.ingestion.records import NewIngestion
from servers.runtime.auth import current_principal, current_project
from servers.runtime.effects import effect_id
from servers.runtime.still_wanted import check_still_wanted
from servers.runtime.streams import should_end


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
            new = NewIngestion(
                id=effect_id(),
                project=current_project(),
                dataset=request.dataset,
                source=f"quarantine of {request.dataset}",
                mode=mode_from_proto(request.mode),
                request=converters.replay_from_proto(request),
                creator=current_principal().display_name,
                create_time=self._clock(),
            )
            started = self._quarantine.replay(new, check_still_wanted)
        waited_s = request.wait.ToTimedelta().total_seconds()
        ended = self._ingesting.wait(started.project, started.id, waited_s, should_end) if waited_s else started
        return ingestion_to_proto(ended)

    def DiscardQuarantinedRows(self, request: pb.DiscardQuarantinedRowsRequest, context: Any) -> pb.DiscardQuarantinedRowsResponse:
        selected = converters.selection_from_proto(request)
        return pb.DiscardQuarantinedRowsResponse(
            removed_row_count=self._quarantine.discard(current_project(), request.dataset, selected, check_still_wanted)
        )
