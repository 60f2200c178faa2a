"""What pipelines, their versions, statistics and alerts are to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from mlops.processing.v1 import pipeline_pb2

from mlmesh.fields import enum_name


@dataclass(frozen=True)
class Pipeline:
    """A pipeline, as it was when the mesh was asked.

    Args:
        name: Its name.
        project: Its project.
        display_name: Its name, for people.
        description: What it is for.
        labels: Labels.
        version: The version that is described; the first is 1.
        spec: What it does, as the contract has it in JSON. It can be given to `create_pipeline` and `update_pipeline`.
        full_only_reason: Why no run of it can compute less than everything; empty where one can.
        input_versions: Versions of its inputs that its outputs are made of, by the input's name; empty until it has run.
        run_version: The version of the pipeline that made its outputs; 0 until it has run.
        running_job_id: The job that runs it; empty where none does.
        creator: Who made it.
        create_time: When it was made.
        update_time: When it was last changed.
        etag: Changes with every change of the pipeline.
    """

    name: str
    project: str
    display_name: str
    description: str
    labels: dict[str, str]
    version: int
    spec: dict[str, Any]
    full_only_reason: str
    input_versions: dict[str, int]
    run_version: int
    running_job_id: str
    creator: str
    create_time: datetime
    update_time: datetime
    etag: str


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline.

    Args:
        version: Its number; the first is 1.
        spec: What it does, as the contract has it in JSON.
        creator: Who made it.
        create_time: When it was made.
    """

    version: int
    spec: dict[str, Any]
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class ColumnQuality:
    """Statistics of a column after a run; None where it is no number.

    Args:
        column: The column.
        null_fraction: Share of nulls, from 0 to 1.
        distinct_count: Distinct values, estimated.
        mean: Mean.
        standard_deviation: Standard deviation.
        minimum: Least number.
        maximum: Greatest number.
    """

    column: str
    null_fraction: float
    distinct_count: float
    mean: float | None
    standard_deviation: float | None
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True)
class OutputQuality:
    """Statistics of an output after a run.

    Args:
        job_id: The job.
        dataset: The dataset.
        version: The version that was written.
        row_count: Its rows.
        columns: Its columns.
        create_time: When they were made.
    """

    job_id: str
    dataset: str
    version: int
    row_count: int
    columns: tuple[ColumnQuality, ...]
    create_time: datetime


@dataclass(frozen=True)
class QualityAlert:
    """A rule that did not hold.

    Args:
        id: Identifier, a UUID.
        pipeline: The pipeline.
        rule: Name of the rule.
        job_id: The job after which it did not hold first.
        dataset: The dataset.
        version: Its version.
        value: The value of the statistic then; None where the column has none.
        message: What was found and what is allowed, in a sentence.
        state: `open` or `resolved`.
        create_time: When it was raised.
        resolve_time: When it was resolved; None until then.
    """

    id: str
    pipeline: str
    rule: str
    job_id: str
    dataset: str
    version: int
    value: float | None
    message: str
    state: str
    create_time: datetime
    resolve_time: datetime | None


def pipeline_value(message: pipeline_pb2.Pipeline) -> Pipeline:
    """Reads a pipeline."""
    return Pipeline(
        name=message.name,
        project=message.project,
        display_name=message.display_name,
        description=message.description,
        labels=dict(message.labels),
        version=message.version,
        spec=_spec(message.spec),
        full_only_reason=message.full_only_reason,
        input_versions=dict(message.input_versions),
        run_version=message.run_version,
        running_job_id=message.running_job_id,
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        update_time=message.update_time.ToDatetime(UTC),
        etag=message.etag,
    )


def pipeline_version_value(message: pipeline_pb2.PipelineVersion) -> PipelineVersion:
    """Reads a version."""
    return PipelineVersion(message.version, _spec(message.spec), message.creator, message.create_time.ToDatetime(UTC))


def quality_value(message: pipeline_pb2.OutputQuality) -> OutputQuality:
    """Reads statistics of an output."""
    columns = tuple(map(_column_value, message.columns))
    time = message.create_time.ToDatetime(UTC)
    return OutputQuality(message.job_id, message.dataset, message.version, message.row_count, columns, time)


def alert_value(message: pipeline_pb2.QualityAlert) -> QualityAlert:
    """Reads an alert."""
    return QualityAlert(
        id=message.id,
        pipeline=message.pipeline,
        rule=message.rule,
        job_id=message.job_id,
        dataset=message.dataset,
        version=message.version,
        value=message.value if message.HasField("value") else None,
        message=message.message,
        state=enum_name(pipeline_pb2.QualityAlertState, message.state),
        create_time=message.create_time.ToDatetime(UTC),
        resolve_time=message.resolve_time.ToDatetime(UTC) if message.HasField("resolve_time") else None,
    )


def _column_value(message: pipeline_pb2.ColumnQuality) -> ColumnQuality:
    numbers = {
        name: getattr(message, name) if message.HasField(name) else None for name in ("mean", "standard_deviation", "minimum", "maximum")
    }
    return ColumnQuality(message.column, message.null_fraction, message.distinct_count, **numbers)


def _spec(message: pipeline_pb2.PipelineSpec) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
