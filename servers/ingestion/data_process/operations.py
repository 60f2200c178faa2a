"""What a data process can do. Loads pyarrow, Polars and deltalake, so the server never imports it.

Every operation takes and returns what JSON has. `project` and `dataset` name a dataset everywhere.

| operation | arguments besides | result |
|---|---|---|
| `ingest` | `ingestion_id`, `source`, `read`, `mode`, `keys`, `contract`, `validate_only` | counts, rejected rows, changes, the dataset |
| `append` | as `position`, and `batches` | what each batch is acknowledged with, the first failure, the dataset |
| `position` | `producer`, `mode`, `keys`, `contract`, `column_types`, `most_rows` | last batch of the producer, the dataset |
| `change_schema` | `ingestion_id`, `renamed_columns`, `dropped_columns`, `validate_only` | as of `ingest` |
| `schemas` | `limit`, `before` | schemas, newest first |
| `consume` | `cluster`, `properties`, `topics`, …, `stop_file` | nothing, once that file is there; all else is told as progress |
| `check_subscription` | `payload`, `mode`, `keys`, `contract`, no dataset | nothing |
| `describe` | `version` or `read_time` | the dataset: version, columns, size, times |
| `versions` | `limit`, `before` | commits, newest first |
| `preview` | `version`, `limit`, `offset`, `columns` | rows |
| `rollback` | `version` | the dataset |
| `compact` | | version, files before and after |
| `vacuum` | `retention_s` | files removed |
| `delete` | | nothing |
| `list_quarantined` | `filter`, `order`, `after`, `limit` | rows in quarantine, and whether more follow |
| `unknown_quarantined` | `ids`, `filter` | those of the ids that no row in quarantine has |
| `discard_quarantined` | `ids`, `filter` | how many rows were removed from quarantine |
| `suggest` | `version` | a suite |
| `profile` | `version` | what it has in it |
| `sketch` | `version` | sketches that were made |
| `render_profile` | `version` | an HTML page |
| `render_ingestion` | `ingestion`, no dataset | an HTML page |
| `render_validation` | as `validate` | an HTML page |
| `validate` | `version`, or instead of a dataset `source` and `read`; `suite`, `max_unexpected_rows` | a report |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from servers.ingestion.data_process.appending import append, position
from servers.ingestion.data_process.consuming import check_subscription, consume
from servers.ingestion.data_process.describing import compact, delete, describe, preview, rollback, vacuum, versions
from servers.ingestion.data_process.ingesting import ingest
from servers.ingestion.data_process.profiling import profile, render_ingestion, render_profile, render_validation, sketch
from servers.ingestion.data_process.quarantine.operations import discard_quarantined, list_quarantined, unknown_quarantined
from servers.ingestion.data_process.schema_changes import change_schema
from servers.ingestion.data_process.schema_history import schemas
from servers.ingestion.data_process.validating import suggest, validate
from servers.ingestion.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress

OPERATIONS: Mapping[str, Callable[[Workplace, Mapping[str, Any], OnProgress], Any]] = {
    "ingest": ingest,
    "append": append,
    "position": position,
    "change_schema": change_schema,
    "schemas": schemas,
    "consume": consume,
    "check_subscription": check_subscription,
    "describe": describe,
    "versions": versions,
    "preview": preview,
    "rollback": rollback,
    "compact": compact,
    "vacuum": vacuum,
    "delete": delete,
    "list_quarantined": list_quarantined,
    "unknown_quarantined": unknown_quarantined,
    "discard_quarantined": discard_quarantined,
    "suggest": suggest,
    "profile": profile,
    "sketch": sketch,
    "render_profile": render_profile,
    "render_ingestion": render_ingestion,
    "render_validation": render_validation,
    "validate": validate,
}
"""Operations by their names."""
