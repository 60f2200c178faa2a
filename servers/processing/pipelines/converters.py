"""Between the contract of pipelines and the domain."""

from __future__ import annotations

from typing import Any

from mlops.processing.v1 import pipeline_pb2 as pb
from mlops.processing.v1 import pipeline_service_pb2 as service_pb
from mlops.processing.v1.processing_job_pb2 import RunMode as RunModeMessage

from servers.processing.converters import without_nul
from servers.processing.pipelines.errors import InvalidPipeline
from servers.processing.pipelines.pipelines import PipelineRequest, pipeline_etag
from servers.processing.pipelines.records import ColumnQuality, OutputQuality, Pipeline, PipelineVersion, QualityAlert, RunMode
from servers.runtime.field_masks import updated_fields
from servers.runtime.timestamps import timestamp

_ALERT_PREFIX = "QUALITY_ALERT_STATE_"
_MODE_PREFIX = "RUN_MODE_"
_DEFAULT_TOLERANCE = 1e-9
_IDENTITY = ("name", "project", "etag")
_CHANGING = ("spec", "display_name", "description", "labels")


def request_from_proto(request: service_pb.CreatePipelineRequest, project: str) -> PipelineRequest:
    """Reads a pipeline that somebody wants."""
    return PipelineRequest(
        project, request.name, request.spec, without_nul(request.display_name), without_nul(request.description), _labels(request.labels)
    )


def changes_from_proto(request: service_pb.UpdatePipelineRequest) -> dict[str, Any]:
    """Reads what is to change.

    Raises:
        InvalidArgument: The mask names something else.
    """
    pipeline = request.pipeline
    fixed = {field.name for field in pipeline.DESCRIPTOR.fields} - {*_IDENTITY, *_CHANGING}
    paths = updated_fields(request.update_mask, pipeline, immutable=fixed, identity=_IDENTITY)
    if deep := sorted(path for path in paths if path not in _CHANGING):
        raise InvalidPipeline("update_mask", f"{deep[0]!r} is a part of a field; fields that can be changed: {', '.join(_CHANGING)}")
    given: dict[str, Any] = {
        "spec": pipeline.spec,
        "display_name": without_nul(pipeline.display_name),
        "description": without_nul(pipeline.description),
        "labels": _labels(pipeline.labels),
    }
    return {name: value for name, value in given.items() if name in paths}


def mode_from_proto(request: service_pb.RunPipelineRequest) -> RunMode:
    """Reads how much is to be computed."""
    return RunMode(RunModeMessage.Name(request.mode or RunModeMessage.RUN_MODE_INCREMENTAL).removeprefix(_MODE_PREFIX))


def tolerance_from_proto(request: service_pb.CheckPipelineRequest) -> float:
    """Reads how much numbers may differ."""
    return request.relative_tolerance if request.HasField("relative_tolerance") else _DEFAULT_TOLERANCE


def pipeline_to_proto(pipeline: Pipeline) -> pb.Pipeline:
    """Gives a pipeline as the contract has it."""
    checkpoint = pipeline.checkpoint
    return pb.Pipeline(
        name=pipeline.name,
        project=pipeline.project,
        display_name=pipeline.display_name,
        description=pipeline.description,
        labels=pipeline.labels,
        version=pipeline.version,
        spec=pipeline.spec,
        full_only_reason=pipeline.full_only_reason,
        input_versions={} if checkpoint is None else {name: each.version for name, each in checkpoint.inputs.items()},
        run_version=0 if checkpoint is None else checkpoint.pipeline_version,
        running_job_id=pipeline.running_job_id,
        creator=pipeline.creator,
        create_time=timestamp(pipeline.create_time),
        update_time=timestamp(pipeline.update_time),
        etag=pipeline_etag(pipeline),
    )


def version_to_proto(version: PipelineVersion) -> pb.PipelineVersion:
    """Gives a version as the contract has it."""
    return pb.PipelineVersion(
        version=version.version, spec=version.spec, creator=version.creator, create_time=timestamp(version.create_time)
    )


def quality_to_proto(quality: OutputQuality) -> pb.OutputQuality:
    """Gives statistics of an output as the contract has them."""
    return pb.OutputQuality(
        job_id=quality.job_id,
        dataset=quality.dataset,
        version=quality.version,
        row_count=quality.row_count,
        columns=map(_column, quality.columns),
        create_time=timestamp(quality.create_time),
    )


def alert_to_proto(alert: QualityAlert) -> pb.QualityAlert:
    """Gives an alert as the contract has it."""
    return pb.QualityAlert(
        id=alert.id,
        pipeline=alert.pipeline,
        rule=alert.rule,
        job_id=alert.job_id,
        dataset=alert.dataset,
        version=alert.version,
        value=alert.value,
        message=alert.message,
        state=pb.QualityAlertState.Value(_ALERT_PREFIX + alert.state.value),
        create_time=timestamp(alert.create_time),
        resolve_time=timestamp(alert.resolve_time),
    )


def _column(quality: ColumnQuality) -> pb.ColumnQuality:
    return pb.ColumnQuality(**vars(quality))


def _labels(labels: Any) -> dict[str, str]:
    return {without_nul(key): without_nul(value) for key, value in labels.items()}
