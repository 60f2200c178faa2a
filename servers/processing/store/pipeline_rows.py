"""The rows of pipelines and of what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mlops.processing.v1.pipeline_pb2 import PipelineSpec
from mlops.processing.v1.processing_job_pb2 import CheckResult
from sqlalchemy import RowMapping, and_, func

from aip_filter import Field, Schema, side_table
from servers.processing.pipelines.records import (
    AlertState,
    Checkpoint,
    ColumnQuality,
    InputOrigin,
    OutputOrigin,
    OutputQuality,
    Pipeline,
    PipelineRun,
    PipelineVersion,
    QualityAlert,
    RunMode,
    RunOutcome,
    RunRequest,
)
from servers.processing.store.pipeline_tables import (
    output_quality,
    pipeline_labels,
    pipeline_runs,
    pipeline_versions,
    pipelines,
    quality_alerts,
)
from servers.runtime.pages import Collection

RUN_COLUMNS = (
    func.coalesce(pipeline_runs.c.pipeline, "").label("pipeline"),
    pipeline_runs.c.pipeline_version,
    pipeline_runs.c.outcome.label("run_outcome"),
    pipeline_runs.c.check_result,
)
"""What a job's row says of the pipeline that it is of."""

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "running_job_id", "create_time", "update_time")
VERSIONS = pipelines.join(pipeline_versions, pipeline_versions.c.pipeline_id == pipelines.c.id)
COLUMNS = (
    *(pipelines.c[name] for name in (*_AS_THEY_STAND, "checkpoint", "creator")),
    pipelines.c.version.label("newest_version"),
    pipeline_versions.c.version,
    pipeline_versions.c.spec,
    pipeline_versions.c.full_only_reason,
)
_NEWEST = pipelines.join(
    pipeline_versions, and_(pipeline_versions.c.pipeline_id == pipelines.c.id, pipeline_versions.c.version == pipelines.c.version)
)


def checkpoint_to_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """Gives a checkpoint as the row has it."""
    return asdict(checkpoint)


def checkpoint_of(row: Mapping[str, Any] | None) -> Checkpoint | None:
    """Reads what `checkpoint_to_json` wrote."""
    if row is None:
        return None
    return Checkpoint(
        pipeline_version=row["pipeline_version"],
        computation=row["computation"],
        inputs={name: InputOrigin(**each) for name, each in row["inputs"].items()},
        outputs={name: OutputOrigin(**each) for name, each in row["outputs"].items()},
    )


def request_to_json(request: RunRequest) -> dict[str, Any]:
    """Gives what a job is to do for a pipeline as the row has it."""
    return asdict(request)


def request_of(row: Mapping[str, Any]) -> RunRequest:
    """Reads what `request_to_json` wrote."""
    return RunRequest(**{**row, "mode": RunMode(row["mode"]), "base": checkpoint_of(row["base"])})


def outcome_to_json(outcome: RunOutcome) -> dict[str, Any]:
    """Gives what is known of a run as the row has it."""
    return asdict(outcome)


def outcome_of(row: Mapping[str, Any] | None) -> RunOutcome:
    """Reads what `outcome_to_json` wrote; nothing where there is nothing."""
    if row is None:
        return RunOutcome()
    return RunOutcome(**{**row, "mode": None if row["mode"] is None else RunMode(row["mode"])})


def run_of(row: RowMapping) -> PipelineRun | None:
    """Reads `RUN_COLUMNS` of a job; None where it is of no pipeline."""
    if not row["pipeline"]:
        return None
    found = row["check_result"]
    check = None if found is None else CheckResult.FromString(found)
    return PipelineRun(row["pipeline"], row["pipeline_version"], outcome_of(row["run_outcome"]), check)


def pipeline_of(row: RowMapping, labels: Mapping[str, str]) -> Pipeline:
    """Returns the pipeline of a row of `COLUMNS`."""
    return Pipeline(
        **{name: row[name] for name in _AS_THEY_STAND},
        labels=labels,
        spec=PipelineSpec.FromString(row["spec"]),
        full_only_reason=row["full_only_reason"],
        creator=row["creator"],
        version=row["version"],
        newest_version=row["newest_version"],
        checkpoint=checkpoint_of(row["checkpoint"]),
    )


def _version_of(row: RowMapping) -> PipelineVersion:
    return PipelineVersion(row["version"], PipelineSpec.FromString(row["spec"]), row["creator"], row["create_time"])


def quality_of(row: RowMapping) -> OutputQuality:
    """Returns the statistics of a row."""
    columns = tuple(ColumnQuality(**each) for each in row["columns"])
    return OutputQuality(row["job_id"], row["dataset"], row["version"], row["row_count"], columns, row["create_time"])


def alert_of(row: RowMapping) -> QualityAlert:
    """Returns the alert of a row."""
    names = ("id", "pipeline", "rule", "job_id", "dataset", "version", "value", "message", "create_time", "resolve_time")
    return QualityAlert(**{name: row[name] for name in names}, state=AlertState(row["state"]))


LIST: Collection[RowMapping] = Collection(
    name="pipelines",
    source=_NEWEST,
    columns=COLUMNS,
    schema=Schema(
        {
            "name": Field("string", pipelines.c.name),
            "display_name": Field("string", pipelines.c.display_name),
            "labels": Field("map", entries=side_table(pipeline_labels, pipeline_labels.c.pipeline_id == pipelines.c.id)),
            "creator": Field("string", pipelines.c.creator),
            "create_time": Field("timestamp", pipelines.c.create_time),
            "update_time": Field("timestamp", pipelines.c.update_time),
        }
    ),
    order_fields={"name": pipelines.c.name, "create_time": pipelines.c.create_time, "update_time": pipelines.c.update_time},
    default_order="name",
    tie_breaker=pipelines.c.id,
    read=lambda row: row,
)

VERSION_LIST: Collection[PipelineVersion] = Collection(
    name="versions of a pipeline",
    source=pipeline_versions,
    columns=tuple(pipeline_versions.c),
    schema=Schema(
        {
            "version": Field("int", pipeline_versions.c.version),
            "creator": Field("string", pipeline_versions.c.creator),
            "create_time": Field("timestamp", pipeline_versions.c.create_time),
        }
    ),
    order_fields={"version": pipeline_versions.c.version},
    default_order="version desc",
    tie_breaker=pipeline_versions.c.version,
    read=_version_of,
)

QUALITY_LIST: Collection[OutputQuality] = Collection(
    name="statistics of outputs",
    source=output_quality,
    columns=tuple(output_quality.c),
    schema=Schema(
        {
            "dataset": Field("string", output_quality.c.dataset),
            "version": Field("int", output_quality.c.version),
            "create_time": Field("timestamp", output_quality.c.create_time),
        }
    ),
    order_fields={"create_time": output_quality.c.create_time},
    default_order="create_time desc",
    tie_breaker=output_quality.c.id,
    read=quality_of,
)

ALERT_LIST: Collection[QualityAlert] = Collection(
    name="quality alerts",
    source=quality_alerts,
    columns=tuple(quality_alerts.c),
    schema=Schema(
        {
            "pipeline": Field("string", quality_alerts.c.pipeline),
            "rule": Field("string", quality_alerts.c.rule),
            "dataset": Field("string", quality_alerts.c.dataset),
            "state": Field("enum", quality_alerts.c.state, values={state.value: state.value for state in AlertState}),
            "create_time": Field("timestamp", quality_alerts.c.create_time),
            "resolve_time": Field("timestamp", quality_alerts.c.resolve_time),
        }
    ),
    order_fields={"create_time": quality_alerts.c.create_time},
    default_order="create_time desc",
    tie_breaker=quality_alerts.c.id,
    read=alert_of,
)
