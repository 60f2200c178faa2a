"""The contract of schemas: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import schema_service_pb2 as pb
from mlops.ingestion.v1.schema_service_pb2_grpc import DatasetSchemaServiceServicer

from servers.ingestion.converters import ingestion_to_proto, listing_from_proto
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.requested import awaited, requested
from servers.ingestion.schemas.converters import change_from_proto, schema_version_to_proto
from servers.ingestion.schemas.schemas import DatasetSchemas
from servers.runtime.auth import current_principal, current_project
from servers.runtime.still_wanted import check_still_wanted

_SOURCE = "schema change"
"""What callers are told of where the data come from."""


class SchemaServicer(DatasetSchemaServiceServicer):
    """Serves `mlops.ingestion.v1.DatasetSchemaService`.

    Args:
        schemas: Schemas of datasets.
        ingesting: Waits for ingestions.
        clock: The time now.
    """

    def __init__(
        self,
        schemas: DatasetSchemas,
        ingesting: Ingesting,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._schemas = schemas
        self._ingesting = ingesting
        self._clock = clock

    def ListSchemaVersions(self, request: pb.ListSchemaVersionsRequest, context: Any) -> pb.ListSchemaVersionsResponse:
        schemas, token = self._schemas.page(current_project(), request.dataset, listing_from_proto(request), check_still_wanted)
        return pb.ListSchemaVersionsResponse(schemas=map(schema_version_to_proto, schemas), next_page_token=token)

    def ChangeSchema(self, request: pb.ChangeSchemaRequest, context: Any) -> ingestion_pb2.Ingestion:
        started = self._ingesting.made_before(current_project())
        if started is None:
            new = requested(request.dataset, _SOURCE, "OVERWRITE", change_from_proto(request), self._clock())
            if request.validate_only:
                return ingestion_to_proto(self._schemas.foreseen(new, current_principal(), check_still_wanted))
            started = self._schemas.change(new)
        return ingestion_to_proto(awaited(self._ingesting, started, request.wait))
