"""What an attempt did that ended before it could say so: its process was killed, or failed after its commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.data_process import ingesting
from servers.ingestion.data_process.schema_changes import change_schema
from servers.ingestion.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress


def delivered(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any] | None:
    """Returns the outcome of an `ingest` or `change_schema` that is in the dataset; None where it is not, and then nothing is done."""
    if arguments.get("operation") != "change_schema":
        return ingesting.delivered(workplace, arguments)
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    is_made = table.last_sequences()(arguments["ingestion_id"]) is not None
    return change_schema(workplace, arguments, on_progress) if is_made else None
