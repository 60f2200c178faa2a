"""Between the contract of training sets and materialisations and the domain."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2 as pb

from servers.features.jobs.records import Failure, Materialization, MaterializeMode, TrainingSet, TrainingSetInput
from servers.features.jobs.training_sets import TrainingSetRequest
from servers.runtime.errors import ERROR_DOMAIN
from servers.runtime.paging import Listing, page_size
from servers.runtime.timestamps import timestamp
from servers.runtime.work.job_state import JobState

_STATE_PREFIX = "JOB_STATE_"
_MODE_PREFIX = "MATERIALIZE_MODE_"


class _ListRequest(Protocol):
    page_size: int
    page_token: str
    filter: str
    order_by: str


def listing_from_proto(request: _ListRequest) -> Listing:
    """Reads which part of a list is wanted."""
    return Listing(page_size(request.page_size), request.page_token, request.filter, request.order_by)


def request_from_proto(request: pb.CreateTrainingSetRequest, project: str) -> TrainingSetRequest:
    """Reads a training set that somebody wants."""
    return TrainingSetRequest(project, request.spec)


def mode_from_proto(request: pb.MaterializeFeatureViewRequest) -> MaterializeMode:
    """Reads how much is wanted."""
    return MaterializeMode.FULL if request.mode == pb.MATERIALIZE_MODE_FULL else MaterializeMode.INCREMENTAL


def training_set_to_proto(training_set: TrainingSet) -> pb.TrainingSet:
    """Gives a training set as the contract has it."""
    return pb.TrainingSet(
        id=training_set.id,
        project=training_set.project,
        spec=training_set.spec,
        state=_state(training_set.state),
        error=None if training_set.error is None else _error(training_set.error),
        inputs=map(_input, training_set.inputs),
        spine_version=training_set.spine_version,
        processing_job_id=training_set.processing_job_id,
        dataset_version=training_set.dataset_version,
        row_count=training_set.row_count,
        leak_report=training_set.leak_report,
        on_demand_replay=training_set.on_demand_replay,
        creator=training_set.creator,
        create_time=timestamp(training_set.create_time),
        start_time=timestamp(training_set.start_time),
        end_time=timestamp(training_set.end_time),
    )


def materialization_to_proto(materialization: Materialization) -> pb.Materialization:
    """Gives a materialisation as the contract has it."""
    progress = materialization.progress
    return pb.Materialization(
        id=materialization.id,
        project=materialization.project,
        view=materialization.view,
        version=materialization.version,
        mode=_mode(materialization.mode),
        effective_mode=_mode(materialization.effective_mode),
        state=_state(materialization.state),
        error=None if materialization.error is None else _error(materialization.error),
        processing_job_id=materialization.processing_job_id,
        dataset_version=materialization.dataset_version,
        read_rows=progress.read,
        written_rows=progress.written,
        kept_newer_rows=progress.kept_newer,
        creator=materialization.creator,
        create_time=timestamp(materialization.create_time),
        start_time=timestamp(materialization.start_time),
        end_time=timestamp(materialization.end_time),
    )


def _state(state: JobState) -> job_pb2.JobState.ValueType:
    return job_pb2.JobState.Value(f"{_STATE_PREFIX}{state.value}")


def _mode(mode: MaterializeMode | None) -> pb.MaterializeMode.ValueType:
    return pb.MATERIALIZE_MODE_UNSPECIFIED if mode is None else pb.MaterializeMode.Value(f"{_MODE_PREFIX}{mode.value}")


def _input(read: TrainingSetInput) -> pb.TrainingSetInput:
    return pb.TrainingSetInput(view=read.view, version=read.version, dataset=read.dataset, dataset_version=read.dataset_version)


def _error(failure: Failure) -> status_pb2.Status:
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=failure.reason, domain=ERROR_DOMAIN, metadata=failure.metadata))
    return status_pb2.Status(code=failure.code, message=failure.message, details=[packed])
