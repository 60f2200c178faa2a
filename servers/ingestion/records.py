"""What is known of ingestions and datasets beside the tables themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from servers.runtime.work.job_state import JobState


@dataclass(frozen=True)
class NewIngestion:
    """Data that somebody wants to have in a dataset.

    Args:
        id: UUID; also that of its task.
        project: Its project.
        dataset: The dataset.
        source: What callers are told of where the data come from; without credentials.
        mode: How they are written: APPEND, OVERWRITE or UPSERT.
        request: What the worker needs to know, as JSON. Rows and files are no part of it.
        creator: Who asked for it.
        create_time: When.
    """

    id: str
    project: str
    dataset: str
    source: str
    mode: str
    request: Mapping[str, Any]
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class Ingestion:
    """Data on their way into a dataset.

    Args:
        id: UUID; also that of its task, and the producer of its delivery.
        project: Its project.
        dataset: The dataset.
        source: What callers are told of where the data come from; without credentials.
        mode: How they are written.
        state: Where it is in its life.
        creator: Who asked for it.
        create_time: When.
        start_time: When work began.
        end_time: When it ended.
        rows_read: Rows read so far.
        outcome: What came of it: counts, version, rejected rows, changes of the schema.
        error_reason: Why it failed.
        error_message: The same in words.
    """

    id: str
    project: str
    dataset: str
    source: str
    mode: str
    state: JobState
    creator: str
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    rows_read: int = 0
    outcome: Any = None
    error_reason: str = ""
    error_message: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset as its newest version has it. Kept with each write, so that lists and looks need no engine.

    Args:
        project: Its project.
        name: Its name.
        version: The newest.
        columns: Names and Arrow types, in order.
        row_count: Its rows.
        size_bytes: Size of its files.
        create_time: When it was first written.
        update_time: When the newest version was.
    """

    project: str
    name: str
    version: int
    columns: tuple[tuple[str, str], ...]
    row_count: int
    size_bytes: int
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a dataset.

    Args:
        version: Its number.
        create_time: When it was written.
        operation: What made it, as Delta Lake writes it.
        ingestion_id: The ingestion that wrote it; empty where none did.
    """

    version: int
    create_time: datetime
    operation: str
    ingestion_id: str
