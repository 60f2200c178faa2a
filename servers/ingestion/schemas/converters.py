"""Between the contract of schemas and what the domain takes."""

from __future__ import annotations

from typing import Any

from mlops.ingestion.v1 import dataset_pb2
from mlops.ingestion.v1 import schema_service_pb2 as pb

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.schemas.schemas import SchemaVersion
from servers.runtime.timestamps import timestamp


def change_from_proto(request: pb.ChangeSchemaRequest) -> dict[str, Any]:
    """Reads what is to become of columns, as a data process takes it.

    Raises:
        InvalidSchemaChange: Nothing is asked for, or things that contradict each other.
        InvalidColumn: A new name cannot be stored.
    """
    changes = ColumnChanges(dict(sorted(request.renamed_columns.items())), list(request.dropped_columns))
    return {
        "operation": "change_schema",
        "source": {"kind": "table"},
        "renamed_columns": dict(changes.renamed),
        "dropped_columns": list(changes.dropped),
    }


def schema_version_to_proto(schema: SchemaVersion) -> pb.SchemaVersion:
    """Gives a schema as the contract has it."""
    return pb.SchemaVersion(
        version=schema.version,
        columns=[dataset_pb2.Column(name=name, type=arrow_type) for name, arrow_type in schema.columns],
        changes=schema.changes,
        create_time=timestamp(schema.create_time),
        ingestion_id=schema.ingestion_id,
    )
