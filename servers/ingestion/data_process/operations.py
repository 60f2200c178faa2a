"""What a data process can do. Loads pyarrow, Polars and deltalake, so the server never imports it.

Every operation takes and returns what JSON has. `project` and `dataset` name a dataset everywhere.

| operation | arguments besides | result |
|---|---|---|
| `ingest` | `ingestion_id`, `source`, `read`, `mode`, `keys`, `contract` | counts, rejected rows, changes of the schema, the dataset |
| `describe` | `version` or `read_time` | the dataset: version, columns, size, times |
| `versions` | `limit`, `before` | commits, newest first |
| `preview` | `version`, `limit`, `offset`, `columns` | rows |
| `rollback` | `version` | the dataset |
| `compact` | | version, files before and after |
| `vacuum` | `retention_s` | files removed |
| `delete` | | nothing |
| `suggest` | `version` | a suite |
| `validate` | `version`, or instead of a dataset `source` and `read`; `suite`, `max_unexpected_rows` | a report |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from servers.ingestion.data_process.describing import compact, delete, describe, preview, rollback, vacuum, versions
from servers.ingestion.data_process.ingesting import ingest
from servers.ingestion.data_process.messages import OnProgress
from servers.ingestion.data_process.validating import suggest, validate
from servers.ingestion.data_process.workplace import Workplace

OPERATIONS: Mapping[str, Callable[[Workplace, Mapping[str, Any], OnProgress], Any]] = {
    "ingest": ingest,
    "describe": describe,
    "versions": versions,
    "preview": preview,
    "rollback": rollback,
    "compact": compact,
    "vacuum": vacuum,
    "delete": delete,
    "suggest": suggest,
    "validate": validate,
}
"""Operations by their names."""
