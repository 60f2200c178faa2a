"""What an ingestion is to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from google.rpc import status_pb2
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.fields import enum_name
from mlmesh.statuses import error_of_status
from mlmesh.validation_reports import ValidationReport, report_value

_FINAL = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class IngestionError:
    """Why an ingestion failed.

    Args:
        code: Name of the gRPC status code, for example `INVALID_ARGUMENT`.
        reason: Stable reason in UPPER_SNAKE_CASE, for example `INVALID_FILE`.
        message: The same in words.
    """

    code: str
    reason: str
    message: str


@dataclass(frozen=True)
class RejectedRow:
    """A row, or a value, that was not written.

    Args:
        row: Number of the row in the data; the first is 1.
        column: Its column.
        value: The value as text, cut after 1,000 characters; empty for null.
        reason: Why, in UPPER_SNAKE_CASE, or the type of the expectation that it breaks.
    """

    row: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class AffectedConsumer:
    """Something that uses a dataset, and that a change of its columns touches.

    Args:
        kind: What it is: `model`, `feature view` or `pipeline`.
        name: Its name.
        version: Its version; empty where it has none.
        columns: The columns it uses that change; empty where it is only known to use the dataset.
    """

    kind: str
    name: str
    version: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Ingestion:
    """Data on their way into a dataset, as they were when the mesh was asked.

    Args:
        id: Identifier, a UUID; empty where it was only validated.
        project: Its project.
        dataset: The dataset.
        source: Where the data come from: the URI, or the name of what was sent.
        mode: How they are written: `append`, `overwrite` or `upsert`.
        state: `queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`.
        error: Why it failed; None where it did not.
        rows_read: Rows read so far.
        rows_added: Rows that were added.
        rows_updated: Rows that took the place of others.
        rows_rejected: Rows that were left out.
        rows_quarantined: Rows that were left out and are in quarantine.
        rejected: The first of the rows, or values, that were left out.
        version: Version of the dataset that it wrote; None until then.
        schema_changes: What changed of the dataset's columns, a sentence each.
        warnings: What a person should know about how the data were read.
        validation: What the gate found; None without one, and until then.
        affected: Where it was only validated: what uses the dataset and is touched by `schema_changes`.
        creator: Who asked for it.
        create_time: When it was asked for.
        start_time: When work began; None until then.
        end_time: When it ended; None until then.
    """

    id: str
    project: str
    dataset: str
    source: str
    mode: str
    state: str
    error: IngestionError | None
    rows_read: int
    rows_added: int
    rows_updated: int
    rows_rejected: int
    rows_quarantined: int
    rejected: tuple[RejectedRow, ...]
    version: int | None
    schema_changes: tuple[str, ...]
    warnings: tuple[str, ...]
    validation: ValidationReport | None
    affected: tuple[AffectedConsumer, ...]
    creator: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether its state is final."""
        return self.state in _FINAL

    @property
    def is_successful(self) -> bool:
        """Whether it wrote its version."""
        return self.state == "succeeded"


def ingestion_value(message: ingestion_pb2.Ingestion) -> Ingestion:
    """Reads an ingestion."""
    return Ingestion(
        id=message.id,
        project=message.project,
        dataset=message.dataset,
        source=message.source,
        mode=enum_name(ingestion_pb2.WriteMode, message.mode),
        state=enum_name(job_pb2.JobState, message.state),
        error=_error_value(message.error) if message.HasField("error") else None,
        rows_read=message.rows_read,
        rows_added=message.rows_added,
        rows_updated=message.rows_updated,
        rows_rejected=message.rows_rejected,
        rows_quarantined=message.rows_quarantined,
        rejected=tuple(RejectedRow(one.row, one.column, one.value, one.reason) for one in message.rejected),
        version=message.version if message.HasField("version") else None,
        schema_changes=tuple(message.schema_changes),
        warnings=tuple(message.warnings),
        validation=report_value(message.validation) if message.HasField("validation") else None,
        affected=tuple(AffectedConsumer(one.kind, one.name, one.version, tuple(one.columns)) for one in message.affected),
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        start_time=message.start_time.ToDatetime(UTC) if message.HasField("start_time") else None,
        end_time=message.end_time.ToDatetime(UTC) if message.HasField("end_time") else None,
    )


def _error_value(status: status_pb2.Status) -> IngestionError:
    error = error_of_status(status)
    return IngestionError(error.code, error.reason, error.message)
