"""Columns of a dataset are renamed and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.progress import RowsRead
from servers.ingestion.data_process.schema_sentences import changed_columns, sentences
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.tables import ChangeKind, DatasetTable, Delivery, SchemaChange
from servers.runtime.data_process.messages import OnProgress


def change_schema(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Renames and drops columns of a dataset, once for each `ingestion_id`; changes nothing with `validate_only`."""
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    changes = ColumnChanges(arguments["renamed_columns"], arguments["dropped_columns"])
    if arguments.get("validate_only"):
        table.check_changes(changes)
        return {**_outcome(changes, table.snapshot().row_count), "changed_columns": changed_columns(_differences(changes))}
    read = RowsRead(on_progress)
    delivery = Delivery(producer=arguments["ingestion_id"], sequence=1)
    done = table.change_columns(changes, delivery=delivery, on_rows=read.add)
    described = dataset_object(table)
    version = _version_of(table, delivery) if done.was_made_before else done.version
    return {**_outcome(changes, read.count), "version": version, "was_delivered_before": done.was_made_before, "dataset": described}


def _version_of(table: DatasetTable, delivery: Delivery) -> int | None:
    """Finds the version of a change that an earlier attempt made, and broke off before it could tell."""
    before = None
    while found := table.schemas(limit=1, before=before):
        if found[0].producer == delivery.producer:
            return found[0].version
        before = found[0].version
    return None


def _differences(changes: ColumnChanges) -> list[SchemaChange]:
    return [
        *(SchemaChange(ChangeKind.COLUMN_RENAMED, old, new_name=new) for old, new in changes.renamed.items()),
        *(SchemaChange(ChangeKind.COLUMN_DROPPED, name) for name in changes.dropped),
    ]


def _outcome(changes: ColumnChanges, rows: int) -> dict[str, Any]:
    return {
        "rows_read": rows,
        "rows_written": 0,
        "rows_updated": 0,
        "rows_rejected": 0,
        "rejected": [],
        "version": None,
        "was_delivered_before": False,
        "schema_changes": sentences(_differences(changes)),
        "warnings": [],
        "validation": None,
        "is_refused": False,
        "dataset": None,
    }
