"""What datasets, their versions and their rows are to the caller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops.ingestion.v1 import dataset_pb2


@dataclass(frozen=True)
class Column:
    """A column of a dataset.

    Args:
        name: Its name.
        type: Its type as Arrow writes it, for example `int64` or `timestamp[us, tz=UTC]`.
    """

    name: str
    type: str


@dataclass(frozen=True)
class Dataset:
    """A dataset as one of its versions has it.

    Args:
        name: Its name.
        project: Its project.
        version: The version that is described; the first is 0.
        columns: Its columns, in order.
        row_count: Its rows.
        size_bytes: Size of its files, in bytes.
        update_time: When the version was written.
        create_time: When the dataset was first written.
        uri: Where its Delta Lake table lies, for other tools: `file:///…` on the mesh's machine, or `s3://…`.
    """

    name: str
    project: str
    version: int
    columns: tuple[Column, ...]
    row_count: int
    size_bytes: int
    update_time: datetime
    create_time: datetime
    uri: str


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a dataset.

    Args:
        version: Its number; the first is 0.
        create_time: When it was written.
        operation: What made it, as Delta Lake writes it: `WRITE`, `MERGE`, `RESTORE`, `OPTIMIZE`.
        ingestion_id: Identifier of the ingestion that wrote it; empty where none did.
    """

    version: int
    create_time: datetime
    operation: str
    ingestion_id: str


@dataclass(frozen=True)
class Preview:
    """Some rows of a dataset.

    Args:
        version: The version that they are of.
        columns: The columns that they have.
        rows: The rows as JSON has them, by column name.
    """

    version: int
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]


def dataset_value(message: dataset_pb2.Dataset) -> Dataset:
    """Reads a dataset."""
    return Dataset(
        name=message.name,
        project=message.project,
        version=message.version,
        columns=tuple(Column(column.name, column.type) for column in message.columns),
        row_count=message.row_count,
        size_bytes=message.size_bytes,
        update_time=message.update_time.ToDatetime(UTC),
        create_time=message.create_time.ToDatetime(UTC),
        uri=message.uri,
    )


def dataset_version_value(message: dataset_pb2.DatasetVersion) -> DatasetVersion:
    """Reads a version."""
    return DatasetVersion(message.version, message.create_time.ToDatetime(UTC), message.operation, message.ingestion_id)


def preview_of_json(document: bytes) -> Preview:
    """Reads the rows of a preview.

    Args:
        document: `{"version": 3, "columns": [{"name": "id", "type": "int64"}], "rows": [{"id": 1}]}`.
    """
    answer = json.loads(document)
    columns = tuple(Column(column["name"], column["type"]) for column in answer["columns"])
    return Preview(int(answer["version"]), columns, answer["rows"])
