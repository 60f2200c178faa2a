"""What a data process can do. What an operation needs, such as pyarrow, Polars and deltalake, is loaded with the first one of its kind.

Every operation takes and returns what JSON has. `project` and `dataset` name a dataset everywhere.

| operation | arguments besides | result |
|---|---|---|
| `ingest` | `ingestion_id`, `source`, `read`, `mode`, `keys`, `contract`, `seen_version`, `validate_only` | counts, changes, … |
| `append` | as `position`, and `batches` | what each batch is acknowledged with, the first failure, the dataset |
| `position` | `producer`, `mode`, `keys`, `contract`, `column_types`, `seen_version`, … | last batch of the producer, the dataset |
| `change_schema` | `ingestion_id`, `renamed_columns`, `dropped_columns`, `validate_only` | as of `ingest` |
| `delivered` | as of `ingest` or `change_schema` | as of `ingest`, where that is in the dataset already |
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
from importlib import import_module
from typing import Any

from servers.ingestion.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress

Operation = Callable[[Workplace, Mapping[str, Any], OnProgress], Any]

_MODULES = {
    "appending": ("append", "position"),
    "consuming": ("check_subscription", "consume"),
    "delivered": ("delivered",),
    "describing": ("compact", "delete", "describe", "preview", "rollback", "vacuum", "versions"),
    "ingesting": ("ingest",),
    "profiling": ("profile", "render_ingestion", "render_profile", "render_validation", "sketch"),
    "quarantine.operations": ("discard_quarantined", "list_quarantined", "unknown_quarantined"),
    "schema_changes": ("change_schema",),
    "schema_history": ("schemas",),
    "validating": ("suggest", "validate"),
}
_MODULE_OF = {operation: module for module, operations in _MODULES.items() for operation in operations}


def operation_of(name: str) -> Operation:
    """Returns an operation, by its name.

    Args:
        name: One of those above.
    """
    found: Operation = getattr(import_module(f"servers.ingestion.data_process.{_MODULE_OF[name]}"), name)
    return found
