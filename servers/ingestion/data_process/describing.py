"""What is in a dataset, going back in it, and its upkeep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from servers.ingestion.data_process.json_values import json_rows
from servers.ingestion.data_process.quarantine.contents import Contents
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.data_process.quarantine.tidying import tidy
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.tables import DatasetTable
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.errors import InvalidArgument


class InvalidReadTime(InvalidArgument):
    """A time is none, or has no zone."""

    reason = "INVALID_READ_TIME"

    def __init__(self) -> None:
        text = "`read_time` is no time in ISO 8601 with its zone, such as 2026-01-31T12:00:00Z"
        super().__init__(text, field_violations=[("read_time", text)])


def dataset_object(table: DatasetTable, version: int | None = None, at: datetime | None = None) -> dict[str, Any]:
    """Describes a version of a dataset; see `DatasetTable.snapshot`."""
    snapshot = table.snapshot(version, at)
    first = table.versions(limit=1, before=1)
    return {
        "version": snapshot.version,
        "columns": [[field.name, str(field.type)] for field in snapshot.schema],
        "row_count": snapshot.row_count,
        "size_bytes": snapshot.size_bytes,
        "small_file_count": snapshot.small_file_count,
        "update_time": snapshot.time.isoformat(),
        "create_time": first[0].time.isoformat() if first else None,
    }


def describe(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Describes a dataset: the latest version, one by its number, or the last one at a time."""
    return dataset_object(_table(workplace, arguments), arguments.get("version"), _time(arguments.get("read_time")))


def versions(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> list[dict[str, Any]]:
    """Lists the commits of a dataset, newest first."""
    return [
        {
            "version": commit.version,
            "create_time": commit.time.isoformat(),
            "operation": commit.operation,
            "mode": commit.mode,
            "rows": commit.rows,
            # Streams and other sources have a colon in their names, and ingestions have none.
            "ingestion_id": "" if commit.delivery is None or ":" in commit.delivery.producer else commit.delivery.producer,
        }
        for commit in _table(workplace, arguments).versions(limit=arguments["limit"], before=arguments.get("before"))
    ]


def preview(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Reads some rows of a dataset."""
    table = _table(workplace, arguments)
    version = arguments.get("version")
    if version is None:
        # Fixed here, so that the rows are those of the version that is told.
        version = table.versions(limit=1)[0].version
    rows = table.preview(version=version, limit=arguments["limit"], offset=arguments.get("offset", 0), columns=arguments.get("columns", ()))
    return {
        "version": version,
        "columns": [{"name": field.name, "type": str(field.type)} for field in rows.schema],
        "rows": json_rows(rows),
    }


def rollback(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Goes back to a version, and describes the new one that this makes."""
    table = _table(workplace, arguments)
    return dataset_object(table, table.rollback(arguments["version"]))


def compact(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Joins small files of a dataset, and describes the version that this makes."""
    table = _table(workplace, arguments)
    done = table.compact()
    return {"files_before": done.files_before, "files_after": done.files_after, "dataset": dataset_object(table, done.version)}


def vacuum(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> int:
    """Removes files that only old versions need, and what is in quarantine no more; returns how many files."""
    table, retention = _table(workplace, arguments), timedelta(seconds=arguments["retention_s"])
    removed = table.vacuum(retention)
    folder = QuarantineFolder(workplace.tables.quarantine(arguments["project"], arguments["dataset"]))
    return removed + tidy(folder, Contents(folder, table.last_sequences()), retention)


def delete(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> None:
    """Deletes a dataset with its history, and its quarantine."""
    _table(workplace, arguments).delete()
    QuarantineFolder(workplace.tables.quarantine(arguments["project"], arguments["dataset"])).delete()


def _table(workplace: Workplace, arguments: Mapping[str, Any]) -> DatasetTable:
    return workplace.tables.table(arguments["project"], arguments["dataset"])


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidReadTime from None
    if time.tzinfo is None:
        raise InvalidReadTime
    return time
