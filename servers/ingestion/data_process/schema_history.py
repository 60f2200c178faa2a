"""Which schemas a dataset has had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.data_process.schema_sentences import sentences
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.tables import TableSchema
from servers.runtime.data_process.messages import OnProgress


def schemas(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> list[dict[str, Any]]:
    """Lists the schemas of a dataset, newest first."""
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    return [_object(each) for each in table.schemas(limit=arguments["limit"], before=arguments.get("before"))]


def _object(found: TableSchema) -> dict[str, Any]:
    return {
        "version": found.version,
        "columns": [[field.name, str(field.type)] for field in found.schema],
        "changes": sentences(found.changes) or ["the schemas before are not known any more"],
        "create_time": found.time.isoformat(),
        "ingestion_id": found.producer,
    }
