"""What schemas of datasets are to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlops.ingestion.v1 import schema_service_pb2

from mlmesh.datasets import Column


@dataclass(frozen=True)
class SchemaVersion:
    """A schema that a dataset has had.

    Args:
        version: The first version of the dataset that has it.
        columns: Its columns, in order.
        changes: What changed against the schema before, a sentence each; of the first it says that the dataset was made.
        create_time: When the version was written.
        ingestion_id: Identifier of the ingestion that wrote it; empty where none did.
    """

    version: int
    columns: tuple[Column, ...]
    changes: tuple[str, ...]
    create_time: datetime
    ingestion_id: str


def schema_version_value(message: schema_service_pb2.SchemaVersion) -> SchemaVersion:
    """Reads a schema."""
    return SchemaVersion(
        version=message.version,
        columns=tuple(Column(column.name, column.type) for column in message.columns),
        changes=tuple(message.changes),
        create_time=message.create_time.ToDatetime(UTC),
        ingestion_id=message.ingestion_id,
    )
